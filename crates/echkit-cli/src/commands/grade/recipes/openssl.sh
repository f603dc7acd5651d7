# `openssl s_client` sends a request, and has to show the answer. `-ech_config_list` is left out where
# the records have none. With it `-tls1_3` is needed: s_client offers TLS 1.2 inside ECH otherwise, which
# RFC 9849 §7.1 has servers refuse.
set -e
list="{ech}"
printf 'GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n' |
  "$0" s_client -quiet -ign_eof -verify_return_error -CAfile '{ca}' -servername '{host}' \
    -verify_hostname '{host}' -alpn http/1.1 ${list:+-tls1_3 -ech_config_list "$list"} \
    -connect '{address}:{endpoint_port}' | grep -q '^HTTP/1.1 200'
