#!/bin/sh
# Programs that some tests and formats need and pip cannot give: installed where that is possible
# (Debian, as root), else named, and the tests that need them skip with that reason.
set -u
missing=""
command -v chromium >/dev/null || missing="chromium"
command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ||
    missing="$missing postgresql"
fc-list 2>/dev/null | grep -qi "cjk\|wqy\|noto sans sc" || missing="$missing fonts-wqy-zenhei"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing $missing..."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "For all tests, install: sudo apt-get install $missing" >&2
exit 0
