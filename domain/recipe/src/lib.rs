//! stone.yaml and monitoring.yaml: written, parsed, evaluated; macros and build scripts.
