"""`authz policy why` about a session under LSM programs: what is known is read from the kernel's table."""

import why


def run():
    why.run()
