"""States of many parts in one flat dictionary of arrays, {"part/key": array}, and back."""


def join_states(parts):
    """parts: {name: object with ``state_dict``} → {"name/key": NumPy array}."""
    return {f"{name}/{key}": a for name, part in parts.items() for key, a in part.state_dict().items()}


def split_state(state, parts, owner):
    """Give every part its piece of ``state``. Raises when one refuses it (or is missing); then no part has changed."""
    pieces = {name: {} for name in parts}
    for key, a in state.items():
        name, _, rest = key.partition("/")
        if name not in pieces:
            raise ValueError(f"it holds the state of {name!r}, which {owner} does not have")
        pieces[name][rest] = a
    before = {name: part.state_dict() for name, part in parts.items()}
    try:
        for name, part in parts.items():
            part.load_state_dict(pieces[name])
    except Exception:
        for name, part in parts.items():
            part.load_state_dict(before[name])
        raise
