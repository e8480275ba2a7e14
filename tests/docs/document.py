"""What a document tells its reader to do."""

import dataclasses
import re
import shlex

# What changes from run to run, and is compared by its kind.
VARIABLE = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "TIME",
    r'(?<=_at":)\d{10}\b': "SECONDS",
    r'(?<=_ms":)[\d.]+': "MILLISECONDS",
    r'"\d+-[0-9a-f]{8,}"': "VERSION",
}


@dataclasses.dataclass
class Command:
    """A line to type, and what is shown to come of it."""

    line: int
    text: str
    shown: str = ""

    @property
    def shows_an_error(self):
        return re.search(r'"status":[45]\d\d\b|^HTTP/[\d.]+ [45]', self.shown, re.MULTILINE) is not None

    def matches(self, came):
        """Whether this came, where … stands for anything and the breaks of lines are the document's own."""
        pieces = [re.escape(comparable(piece)) for piece in self.shown.split("…")]
        return re.fullmatch(".*?".join(pieces), comparable(came), re.DOTALL) is not None


@dataclasses.dataclass
class Settings:
    line: int
    text: str


class NewSection:
    """The settings that were shown no longer hold."""


def comparable(text):
    for pattern, kind in VARIABLE.items():
        text = re.sub(pattern, kind, text)
    return re.sub(r"\s*\n\s*", "", text)


def steps(text):
    """The commands, settings and beginnings of sections of a document, in its order."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line.startswith("## "):
            yield NewSection()
        elif line.startswith("```"):
            block = []
            for _, inner in lines:
                if inner.startswith("```"):
                    break
                block.append(inner)
            if line == "```toml":
                yield Settings(number + 1, "\n".join(block))
            elif line == "```console":
                yield from commands(block, number + 1)


def steps_of_settings(text):
    """A settings file as it is, and with what it only mentions: `# name = value`, and a provider where there is none. The
    address of a database, or a value that is left out with an …, is the reader's. What only the provider onnx has is
    taken with it alone."""
    yield Settings(1, text)
    mentioned = re.compile(r"^# (?=\[|\w+ = )(?!(url|direct_url|path|runtime) = )(?!.*…)", re.MULTILINE)
    yield Settings(1, mentioned.sub("", text).replace('provider = "none"', 'provider = "openai"'))
    of_onnx = re.compile(r"^# (?=(path|runtime) = )", re.MULTILINE)
    yield Settings(1, of_onnx.sub("", text).replace('provider = "none"', 'provider = "onnx"'))


def commands(block, first_line):
    command = None
    for number, line in enumerate(block, first_line):
        if line.startswith("$ "):
            if command:
                yield command
            command = Command(number, line[2:])
        elif not is_whole(command.text):
            command.text += "\n" + line
        else:
            command.shown += line + "\n"
    if command:
        yield command


def is_whole(command):
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True
