"""A reporter that keeps what it is called with, and calls functions of a test's own."""

from augury.reporter import ExtractionProgress, Reporter, TrainingProgress


class Recorder(Reporter):
    def __init__(self, *, on_extraction=None, on_training=None):
        self.calls = {ExtractionProgress: on_extraction, TrainingProgress: on_training}
        self.events, self.messages, self.warnings = [], [], []

    def progress(self, event):
        self.events.append(event)
        if call := self.calls[type(event)]:
            call(event)

    def message(self, text):
        self.messages.append(text)

    def warning(self, text):
        self.warnings.append(text)
