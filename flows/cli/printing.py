"""Printing what may hold foreign text."""

from __future__ import annotations

import click

from tasks.core.errors import printable


def say(text: object, err: bool = False, nl: bool = True) -> None:
    """Print what may hold foreign text: names of files, values of data, what a model says."""
    click.echo(printable(str(text)), err=err, nl=nl)
