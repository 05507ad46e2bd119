"""Process notebooks as nbdev prepares them for the site.

    python -m docsite              all of them, from nbs into _proc under the current folder
    python -m docsite NOTEBOOK     one, on the standard output

Nothing that a worker needs is defined here: the first cell that runs puts its own `__main__` in place of this one.
"""

import sys

from docsite.process import prepare_worker, process_all, processed

if __name__ == "__main__":
    if sys.argv[1:]:
        prepare_worker()
        print(processed(sys.argv[1]))
    elif problems := process_all():
        sys.exit("\n".join(problems))
