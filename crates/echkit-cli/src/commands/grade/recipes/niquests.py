# niquests looks ECHConfigs up with its own resolver, and offers them with rtls.
import sys

import niquests

url, ca, dns = sys.argv[1:]
with niquests.Session(resolver=dns.replace("udp://", "dou://")) as session:
    session.get(url, verify=ca, timeout=15).raise_for_status()
