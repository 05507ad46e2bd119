"""The documentation site: nbdev's processing, then a preview by pandoc for machines without Quarto.

config    what `_quarto.yml` says, read as Quarto reads it
process   the notebooks as nbdev prepares them for the site
notebook  a prepared notebook as pandoc's markdown
tree      links and call-outs in pandoc's tree of a page
pages     the pages, and what is around them
readme    README.md from the front page
check     what must not be on a site
"""


class SiteError(Exception):
    "The site cannot be built, or must not be published: what is wrong, where, and what to do."
