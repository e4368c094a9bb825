#!/bin/sh
# New passwords for a new installation, as compose and `kubectl create secret --from-env-file` read them:
#   sh infra/secrets.sh > infra/.env
# With an S3 service of your own, put its keys in place of the two of AWS.
set -eu
word() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
echo "POSTGRES_PASSWORD=$(word)"
echo "PREFECT_API_AUTH_STRING=admin:$(word)"
echo "MLFLOW_TRACKING_PASSWORD=$(word)"
echo "MLFLOW_FLASK_SERVER_SECRET_KEY=$(word)"
echo "AWS_ACCESS_KEY_ID=fromzero"
echo "AWS_SECRET_ACCESS_KEY=$(word)"
