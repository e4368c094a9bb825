"""Kinds of sources: a module for each, and nothing outside of it names it.

A kind is called what its module is called: `kind: NAME` in a recipe. Another distribution adds one by an entry point
`NAME = its.module` of the group `fromzero.sources`. A module holds

- `OPTIONS`: its options, a subclass of `Source`, `RowSource` or `ReadSource` (`conf.schema.source`) with the field
  `kind: Literal["NAME"]`; its `where` names those that say which entries there are, and shape no document.
- `PLACE`: the option among them that a message about missing entries names.
- `LIBRARIES`: distributions that shape what is read; another version of one reads again.
- `entries(source, conf, known) -> [entry, …]`: what the source called `source` holds now. An entry has `uri` (unique in
  the source), `name` (what its documents' uris begin with), `size` in bytes and `stamp`, which changes when it does;
  what else it has is for `read`. `known` are the uris that the last accepted run had.
- `read(entries, conf, documents, scratch)`: adds the documents of some of these entries to `documents`
  (`tasks.collect.document_writer.Documents`), each with the uri that says its place; `scratch` is a folder for files in
  between. Raises `DataError` for an entry that has changed since it was listed.

and, if it likes,

- `NEEDS`: further distributions without which it does not work.
- `warns(source, conf)`: what a plan and a run are to warn of, once `entries` was called (`tasks.core.run_warnings`).
- `EXPECTATIONS`: what its documents must be like beside conf/suites/documents.yaml, each as a suite's YAML has them;
  those of kinds that are shipped are in conf/suites/NAME.yaml.
- `FOLDERS = True`: `paths` of a source are folders of files; `fromzero init` writes a source of that kind.

It is imported with the recipe: what is heavy it imports inside of its functions. What it reaches from `read` is the
code that a fetched shard is keyed on.
"""
