"""A registry, tiny models and a store that holds them, as the tests of registering have them."""

from tests.tasks.register.conftest import (  # noqa: F401
    base,
    evaluation,
    home,
    publish,
    store,
    template,
    tiny,
    tiny_classifier,
    uri,
    work,
)
