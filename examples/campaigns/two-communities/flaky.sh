#!/bin/sh
# Fails for the moment (EX_TEMPFAIL) in its first attempt.
if [ "$SPINOR_ATTEMPT" = 1 ]; then
    echo "not now" >&2
    exit 75
fi
echo "$SPINOR_ATTEMPT" > attempt.txt
