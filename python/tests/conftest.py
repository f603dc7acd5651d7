"""What all tests need."""

import signal

# A shell without job control starts what it runs in the background with SIGINT ignored, and
# programs inherit that; the tests of Ctrl-C need programs that listen.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
