"""What tests ask of a testbed."""


def url(bed, case):
    return bed.url(case) + "?format=json"


def sent(bed, case):
    """What clients have sent to a case's server, connection by connection."""
    bed.quiet()
    return [capture for capture in bed.captures() if capture.case == case]


def shown(bed, case):
    bed.quiet()
    return any(bed.case(case).host in capture for capture in bed.captures())
