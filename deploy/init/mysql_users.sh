# shellcheck shell=bash
# First start of the MySQL container: the five users, with the names and passwords of the URLs that their processes
# read. Tables, and who may do what on which, are made by `streamlake migrate` as the migrate user.
# The image's entrypoint sources this file and defines docker_process_sql.

streamlake_user() { # the URL's file -> NAME PASSWORD
  local url name password
  url=$(cat "$1")
  url=${url#*://}
  url=${url%%@*}
  name=${url%%:*}
  password=${url#*:}
  if [ -z "$name" ] || [ -z "$password" ] || [ "$name" = "$url" ]; then
    echo "$1 is no URL with user and password" >&2
    return 1
  fi
  case $name$password in
    *[!A-Za-z0-9_-]*)
      echo "$1: name and password may hold letters, digits, - and _ only" >&2
      return 1
      ;;
  esac
  echo "$name $password"
}

streamlake_users() {
  local role account name password
  for role in migrate writer reader bi actions; do
    account=$(streamlake_user "${INIT_SECRETS:-/run/secrets}/mysql_${role}_url") || return 1
    name=${account% *}
    password=${account#* }
    echo "CREATE USER IF NOT EXISTS '$name'@'%' IDENTIFIED BY '$password';"
    if [ "$role" = migrate ]; then
      # a rebuild makes a schema of its own beside the live one
      echo "GRANT ALL PRIVILEGES ON \`streamlake\`.* TO '$name'@'%' WITH GRANT OPTION;"
      echo "GRANT ALL PRIVILEGES ON \`streamlake\\_%\`.* TO '$name'@'%' WITH GRANT OPTION;"
    fi
  done
}

streamlake_sql=$(
  echo "CREATE DATABASE IF NOT EXISTS \`streamlake\` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;"
  streamlake_users
) || exit 1
docker_process_sql <<<"$streamlake_sql"
unset streamlake_sql
