"""Headers of every response, by which a page of this server loads nothing from other hosts."""

# The page's framework starts from inline scripts and styles and compiles its templates in the
# browser, hence the two 'unsafe' words. No text of a document ever becomes markup, and a script
# that ran all the same could reach no other host.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}

HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    # Not "no-referrer": with that, browsers would hide the origin of a form of this page as well.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
