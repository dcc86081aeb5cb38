"""What changes over the steps of a run: a function of the configuration and the step alone, with nothing to store."""

from ppl_cli.config.sections import Config


def eased(config: Config, step: int) -> float:
    """Factor of the two losses that only lead the way: 1, then falling in a line to `loss.eased`."""
    loss = config.loss
    if not loss.ease_to:
        return 1.0
    done = min(max((step - loss.ease_from) / max(loss.ease_to - loss.ease_from, 1), 0.0), 1.0)
    return 1.0 + (loss.eased - 1.0) * done
