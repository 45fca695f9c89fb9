"""Work orders at a location that several machines reach: a folder, or a bucket of S3, Google or Azure."""
