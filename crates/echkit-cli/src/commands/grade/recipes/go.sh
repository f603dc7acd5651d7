# The program prints a line for each connection; the last one has the page.
set -e
list="{ech}"
"$0" connect -address '{address}:{endpoint_port}' -name '{host}' -ca '{ca}' ${list:+-ech "$list"} \
  -retry -get | tail -n 1 | grep -v '"error":"[^"]' | grep -q '"body":"[^"]'
