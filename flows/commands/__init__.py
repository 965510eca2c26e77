"""The commands of `einfluence`, one file each. Heavy imports wait until a command needs them."""
