# NSS's tstclnt, with a database made for the occasion that has the testbed's CA. `-N` is left out where
# the records have no list. It may wait after the page until it is ended: the page has to be there.
set -e
list="{ech}"
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
certutil -d "sql:$home" -N --empty-password
certutil -d "sql:$home" -A -t C,, -n testbed -i '{ca}'
printf 'GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n' > "$home/request"
timeout -k 1 10 "$0" -d "sql:$home" -a '{host}' -h '{address}' -p '{endpoint_port}' -A "$home/request" \
  ${list:+-N "$list"} > "$home/page" || true
grep -q '^HTTP/1.1 200' "$home/page"
