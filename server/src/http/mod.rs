//! `/health`, `/livez`, `/readyz`, `/version`, `/metrics` and what answers everything else.
