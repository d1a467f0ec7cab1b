# SPDX-License-Identifier: Apache-2.0
"""How Sphinx makes these pages: ``make docs``."""

project = "glancesync"
copyright = "the glancesync authors"  # noqa: A001 - the name Sphinx reads
html_theme = "alabaster"
html_theme_options = {
    "description": "Image synchronization for multi-region OpenStack clouds",
    "page_width": "1080px",
    "sidebar_width": "240px",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_show_sourcelink = False
highlight_language = "none"
# Every ``…`` in these pages is literal text; a reference that leads nowhere is an error.
nitpicky = True
smartquotes = False
