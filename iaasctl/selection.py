"""Which objects a command means: kinds, names, labels, FIELD=VALUE."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from iaasctl.answers import Object
from iaasctl.errors import Invalid, NotFound
from iaasctl.kinds import KINDS, Kind, keys_of


class Selection(NamedTuple):
    """`names` empty: all. `filters` are for the server, `labels` for us."""

    kinds: Sequence[Kind]
    filters: Mapping[str, str]
    labels: Mapping[str, str | None]
    names: Sequence[str] = ()

    @property
    def single(self) -> bool:
        return len(self.names) == 1

    def of(self, objects: Sequence[Object]) -> list[Object]:
        """Those of a kind's objects that are meant, in the order of their names."""
        found = [item for item in objects if self._has_labels(item) and self._is_named(item)]
        return sorted(found, key=lambda item: (str(item.get("name")), str(item.get("id"))))

    def _is_named(self, item: Object) -> bool:
        return not self.names or item.get("name") in self.names or item.get("id") in self.names

    def _has_labels(self, item: Object) -> bool:
        labels = item.get("labels")
        labels = labels if isinstance(labels, Mapping) else {}
        return all(
            key in labels and value in (None, labels[key]) for key, value in self.labels.items()
        )

    def check_found(self, objects: Sequence[Object]) -> None:
        """Raises NotFound for names that are not among the objects."""
        known = {str(item.get(field)) for item in objects for field in ("name", "id")}
        if missing := [name for name in self.names if name not in known]:
            (kind,) = self.kinds
            raise NotFound(
                f"there is no {kind.word} {', '.join(missing)}",
                fix=f"iaasctl get {kind.plural} shows which there are",
            )


def selection(words: Sequence[str], labels: Sequence[str]) -> Selection:
    """`machines web1 state=running`, or `all`; raises Invalid."""
    plain = tuple(word for word in words if "=" not in word)
    filters = dict(word.split("=", 1) for word in words if "=" in word)
    if not plain:
        raise Invalid("which kind?", fix="iaasctl get nodes|images|machines|all")
    chosen = dict(pair for text in labels for pair in _labels(text))
    if plain[0] == "all":
        if len(plain) > 1:
            raise Invalid(
                "`all` takes no names", fix="name the kind instead: iaasctl get machine NAME"
            )
        return Selection(kinds=KINDS, filters=filters, labels=chosen)
    kind, names = keys_of(plain)
    return Selection(kinds=(kind,), names=names, filters=filters, labels=chosen)


def _labels(text: str) -> list[tuple[str, str | None]]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key for key, _, _ in pairs):
        raise Invalid(f"{text!r} selects no labels", fix="write -l key=value, or -l key")
    return [(key, value if equals else None) for key, equals, value in pairs]
