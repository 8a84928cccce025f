"""Verifies every DKIM signature of a message with dkimpy.

    dkimpy.py MESSAGE ZONE

ZONE is JSON: {"name": ["TXT record", ...]}; a name that is not there does not exist. Prints a line for each
signature from top to bottom: ALGORITHM DOMAIN SELECTOR pass|REASON.
"""

import json
import sys

import dkim


def main():
    with open(sys.argv[1], "rb") as file:
        message = file.read()
    with open(sys.argv[2], encoding="utf-8") as file:
        zone = json.load(file)

    def txt(name, timeout=5):
        texts = zone.get(name.decode("ascii").rstrip(".").lower())
        return texts[0].encode("utf-8") if texts else None

    reader = dkim.DKIM(message, minkey=1024)
    signatures = [value for name, value in reader.headers if name.lower() == b"dkim-signature"]
    for index, value in enumerate(signatures):
        tags = dkim.util.parse_tag_value(value)
        try:
            verdict = "pass" if dkim.DKIM(message, minkey=1024).verify(idx=index, dnsfunc=txt) else "fail"
        except dkim.DKIMException as err:
            verdict = "%s: %s" % (type(err).__name__, err)
        print(*(tags.get(tag, b"?").decode("utf-8", "replace") for tag in (b"a", b"d", b"s")), verdict)


main()
