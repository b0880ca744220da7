"""The process of one library: reads commands, runs cases, answers. `python -m bench.worker NAME DEVICE THREADS`.

Commands and answers are pickles on stdin and stdout, from and to the parent alone; whatever the library prints goes to
stderr. An answer is ("ok", value), ("unsupported", reason) or ("error", text).
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import traceback
from typing import Any, BinaryIO

from bench.cases import CASES
from bench.rivals.side import Side, UnsupportedError


def main() -> None:
    library, device, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    side: Side | None = None
    while True:
        try:
            command, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if command == "open":
                module, mode = arguments
                side = importlib.import_module(module).SIDE(mode, device, threads)
                answer = ("ok", side.versions())
            else:
                assert side is not None, f"{library}: open comes first"
                answer = ("ok", _answer(side, command, arguments))
        except UnsupportedError as reason:
            answer = ("unsupported", str(reason))
        except Exception as error:
            traceback.print_exc()
            answer = ("error", f"{type(error).__name__}: {error}".splitlines()[0])
        _send(answers, answer)


def _answer(side: Side, command: str, arguments: list[Any]) -> Any:
    match command:
        case "prepare":
            return side.prepare(CASES[arguments[0]])
        case "warm_up":
            return side.warm_up(*arguments)
        case "run":
            repetitions, untimed = arguments
            if untimed:
                side.seconds(untimed)
            return side.seconds(repetitions)
        case "device_name":
            return side.device_name()
        case "roofline":
            from bench.roofline import measure

            return measure(side)
    raise ValueError(f"unknown command {command!r}")


def _send(stream: BinaryIO, answer: Any) -> None:
    pickle.dump(answer, stream)
    stream.flush()


if __name__ == "__main__":
    main()
