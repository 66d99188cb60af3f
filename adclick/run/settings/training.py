"""Settings of the trainings, and the variants that are trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from adclick.run.settings.section import Count, Name, NonNegative, Positive, Section, Share


class Batch(Section):
    """How many samples of each kind a training batch holds."""

    normal: Count
    simulated: Count
    real: Count


class Training(Section):
    """One training loop: length, batches, optimiser, averaging, clicks."""

    pretrain_steps: Count
    steps: Count
    pretrain_batch: Batch
    batch: Batch
    learning_rate: Annotated[float, Field(gt=0)]
    fusion_learning_rate: Annotated[float, Field(gt=0)]
    pretrain_rate: Annotated[float, Field(gt=0)]
    weight_decay: NonNegative
    warmup_steps: Count
    clip_norm: Annotated[float, Field(gt=0)]
    ema_decay: Share
    click_rounds: Count
    uncorrected_steps: Share
    deepest_first_click: Share
    augment: bool
    gain: NonNegative


class AdclickVariant(Section):
    """A row of tables 1 and 7. `inputs` other than the residual show what the residual is worth;
    `pretrain: false` trains on the category's simulated defects from nothing.
    """

    language: bool
    pretrain: bool
    finetune: bool
    inputs: Literal["residual", "image", "both"]
    matching: Name | None

    @model_validator(mode="after")
    def _is_trained(self) -> "AdclickVariant":
        if not (self.pretrain or self.finetune):
            raise ValueError("pretrain and finetune are both false: the network would be untrained")
        return self


class SegTraining(Section):
    """How an ADClick-Seg variant is trained, whatever residuals it reads."""

    supervision: Literal["unsupervised", "weak", "full", "box", "human"]
    pretrain: bool
    iis: bool
    language: bool
    abandon: bool


class SegVariant(SegTraining):
    """A row of tables 2-6 and 8, or, with fewer images or another number of clicks than the run's,
    a point of the figure of what labels buy.
    """

    matching: Name | None
    labelled_images: Positive | None
    label_clicks: Positive | None

    @model_validator(mode="after")
    def _labels_are_read(self) -> "SegVariant":
        if self.label_clicks is not None and self.supervision != "weak":
            raise ValueError("label_clicks: only labels of supervision weak have clicks")
        if self.labelled_images is not None and self.supervision == "unsupervised":
            raise ValueError("labelled_images: supervision unsupervised reads no label")
        if self.labelled_images is not None and self.supervision == "human":
            raise ValueError("labelled_images: supervision human reads all that a person finished")
        return self
