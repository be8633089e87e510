#!/bin/sh
# nvcc_report.sh strict|lenient nvcc ... -o OBJECT ...
#
# Runs the command and keeps what ptxas says of each kernel in OBJECT.ptxas. Shows the rest, and tells
# of kernels with a stack frame, for local memory is device memory: strict fails on one.
mode=$1
shift
object=
before=
for argument; do
  [ "$before" != -o ] || object=$argument
  before=$argument
done
case $object in
  *.o) ;;
  *) exec "$@" ;;
esac

"$@" 2> "$object.ptxas"
status=$?
grep -v -e '^ptxas info ' -e '^ *[0-9]* bytes stack frame, ' "$object.ptxas" >&2
frames=$(grep -B1 '^ *[1-9][0-9]* bytes stack frame' "$object.ptxas")
if [ "$status" -eq 0 ] && [ -n "$frames" ]; then
  printf 'kernels with a stack frame, expected none:\n%s\n' "$frames" >&2
  if [ "$mode" = strict ]; then
    rm -f "$object"
    status=1
  fi
fi
exit "$status"
