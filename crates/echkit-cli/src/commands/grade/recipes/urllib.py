# Names of the testbed are at its addresses; the program looks nothing else up.
import socket, ssl, sys, urllib.request

url, ca, address = sys.argv[1:]
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: look_up(address, *rest, **more)
context = ssl.create_default_context(cafile=ca)
with urllib.request.urlopen(url, timeout=15, context=context) as response:
    response.read()
