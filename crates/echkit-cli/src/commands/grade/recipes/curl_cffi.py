# libcurl over BoringSSL, told the ECHConfigList and the endpoint: at ports other than 443 it passes
# HTTPS records by.
import os
import sys

from curl_cffi import Curl, CurlOpt

host, ca, address, port, ech = map(os.fsencode, sys.argv[1:])
curl = Curl()
for option, value in (
    (CurlOpt.URL, b"https://%s:%s/" % (host, port)),
    (CurlOpt.CAINFO, ca),
    (CurlOpt.RESOLVE, [b"%s:%s:%s" % (host, port, address)]),
    (CurlOpt.ECH, b"ecl:" + ech if ech else b"grease"),
    (CurlOpt.FAILONERROR, 1),
    (CurlOpt.TIMEOUT, 15),
    (CurlOpt.WRITEFUNCTION, len),
):
    curl.setopt(option, value)
curl.perform()
