#!/bin/sh
# Starts the program of an image that takes its password from the environment alone: the password comes from a file.
# usage: with_password.sh VARIABLE FILE PROGRAM [ARGUMENT ...]
set -eu

name=$1
value=$(cat "$2")
shift 2
export "$name=$value"
exec "$@"
