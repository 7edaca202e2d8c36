"""What deploy/smoke.sh asks of a running deployment, from outside: over HTTP only."""
