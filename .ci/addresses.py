"""Write the addresses of a repository into what is released: project URLs, and absolute links in the README.

    python .ci/addresses.py https://HOST/OWNER/NAME TAG

The release workflow calls it before it builds; a package index resolves no links relative to a file.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_URLS = {
    "Source": "{0}",
    "Documentation": "{0}/tree/{1}/docs",
    "Changelog": "{0}/blob/{1}/CHANGELOG.md",
    "Issues": "{0}/issues",
}


def urls(address: str, tag: str) -> str:
    """The table of project URLs."""
    lines = (f'{name} = "{url.format(address, tag)}"' for name, url in _URLS.items())
    return "\n".join(["[project.urls]", *lines, "", ""])


def absolute(readme: str, address: str, tag: str) -> str:
    """A README whose links to files of the repository are absolute: pictures raw, pages as pages.

    >>> absolute("![a](docs/a.png) [b](docs/b.md) [c](https://c.org)", "https://h/o/n", "v1")
    '![a](https://h/o/n/raw/v1/docs/a.png) [b](https://h/o/n/blob/v1/docs/b.md) [c](https://c.org)'
    """
    readme = re.sub(r"(!\[[^\]]*\]\()(?!\w+://)", rf"\1{address}/raw/{tag}/", readme)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!\w+://|#)", rf"\1{address}/blob/{tag}/", readme)


def main(address: str, tag: str) -> None:
    """Rewrite pyproject.toml and README.md in place."""
    project, readme = Path("pyproject.toml"), Path("README.md")
    text = project.read_text(encoding="utf-8")
    project.write_text(
        text.replace(
            "[project.optional-dependencies]", urls(address, tag) + "[project.optional-dependencies]"
        ),
        encoding="utf-8",
    )
    readme.write_text(absolute(readme.read_text(encoding="utf-8"), address, tag), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
