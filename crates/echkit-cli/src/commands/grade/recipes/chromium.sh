# Chromium with a profile made for the occasion, which asks the testbed's DNS over HTTPS alone and trusts
# its CA. It exits with 0 in any case: the page has to be the server's.
set -e
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir -p "$home/profile" "$home/.pki/nssdb"
certutil -d "sql:$home/.pki/nssdb" -N --empty-password
certutil -d "sql:$home/.pki/nssdb" -A -t C,, -n testbed -i '{ca}'
printf '{"dns_over_https":{"mode":"secure","templates":"%s"}}' '{doh}' > "$home/profile/Local State"
sandbox=
[ "$(id -u)" != 0 ] || sandbox=--no-sandbox
HOME=$home timeout -k 1 15 "$0" --headless $sandbox --disable-gpu --user-data-dir="$home/profile" \
  --host-resolver-rules='MAP dns.ech.test 127.0.0.1' --dump-dom '{url}?format=json' |
  grep -q '"case"'
