#!/bin/sh
# Shows all that others on the machine could see of it: arguments and environment.
set -eu
tr '\0' '\n' <"/proc/$$/cmdline"
tr '\0' '\n' <"/proc/$$/environ"
cat "$CONSORT_PARAMS"
cp model.ini seen.ini
password=$(sed -n 's/.*"password" *: *"\([^"]*\)".*/\1/p' "$CONSORT_SECRETS")
{
	stat -c %a "$CONSORT_SECRETS"
	printf %s "$password" | sha256sum | cut -c1-64
} >proof.txt
