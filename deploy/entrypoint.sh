#!/bin/sh
# What every container of streamlake's image starts with: passwords that a program takes from its environment alone
# are read from their files here, so that neither a compose file nor the engine's record of a container holds one.
set -eu

folder=${STREAMLAKE_SECRETS_DIR:-/run/secrets}
if [ -e "$folder/dagster_postgres_password" ]; then
  DAGSTER_POSTGRES_PASSWORD=$(cat "$folder/dagster_postgres_password")
  export DAGSTER_POSTGRES_PASSWORD
fi
exec "$@"
