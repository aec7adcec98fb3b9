"""The web page on which people ask their documents."""
