-- Runs once, in an empty server: a database for each of the two
CREATE DATABASE fromzero_prefect;
CREATE DATABASE fromzero_mlflow;
