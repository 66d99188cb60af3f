"""Settings of the trainings, and the variants that are trained."""

import itertools
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, model_serializer, model_validator

from adclick.run.settings.section import Count, Name, NonNegative, Positive, Section, Share


class Batch(Section):
    """How many samples of each kind a training batch holds."""

    normal: Count = Field(description="Normal images.")
    simulated: Count = Field(description="Simulated defects.")
    real: Count = Field(
        description="Real defects: while pretraining those of other categories with true masks,"
        " then the category's labelled ones, expanded (none in ADClick; unsupervised ADClick-Seg"
        " has simulated ones instead)."
    )


class SharedTraining(Section):
    """What the trainings of both networks have in common: length, optimiser, averaging, clicks."""

    pretrain_steps: Count = Field(description="Steps of pretraining on other categories.")
    steps: Count = Field(description="Steps on the category itself.")
    learning_rate: float = Field(gt=0, description="Peak rate of AdamW.")
    fusion_learning_rate: float = Field(gt=0, description="Peak rate of the pixel-word attentions.")
    pretrain_rate: float = Field(
        gt=0,
        description="Both rates while pretraining, as a multiple of the two above. Below 1,"
        " pretraining moves the weights less, so that a short training has less to undo.",
    )
    weight_decay: NonNegative = Field(description="Decay of matrices (not of biases and norms).")
    warmup_steps: Count = Field(description="Steps of linear warm-up; the rate is constant after.")
    clip_norm: float = Field(gt=0, description="Largest norm of the gradient.")
    ema_decay: Share = Field(description="Decay of the moving average that is kept.")
    click_rounds: Count = Field(
        description="Up to this many corrective clicks, as many as drawn for a step: after the"
        " first ones in ADClick; ADClick-Seg has no others."
    )
    uncorrected_steps: Share = Field(
        description="Share of steps without corrective clicks, whatever was drawn; in pretraining"
        " too. In ADClick-Seg these have no click at all, as it is used: with 3 rounds and 0 here a"
        " fourth of the steps trains it for that, which is little in a short training. Variants"
        " with `iis: false` never click."
    )
    deepest_first_click: Share = Field(
        description="Share of samples whose first click falls where a robot user's would."
    )
    augment: bool = Field(description="Joint flips and quarter turns.")
    gain: NonNegative = Field(description="The residual is scaled by exp(U(-gain/2, gain/2)).")
    disks: Literal["fixed", "fitted"] | None = Field(
        None,
        description="How wide click disks are: `fixed`, all `clicks.radius_px`, or `fitted`, as"
        " wide as the like-coloured place that is clicked, `radius_px` at most, and never over"
        " a click of the other sign. A network is clicked as it was trained. Without it: `fixed`,"
        " the paper's.",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without a word about disks it is written as it was before there was one."""
        values = dump(self)
        if values.get("disks") is None:
            values.pop("disks", None)
        return values


class Training(SharedTraining):
    """One training loop: what both have in common, and its batches."""

    pretrain_batch: Batch = Field(description="Samples of a pretraining batch.")
    batch: Batch = Field(description="Samples of a batch.")


class FeatureTraining(Section):
    """How a detector on features is trained: several networks, and the choice of how much they add
    to the training-free map, on what was held out from them. Not in the paper.
    """

    steps: Positive = Field(description="Steps of each network, up to `few_labels` labels.")
    learning_rate: float = Field(gt=0, description="Peak rate of AdamW.")
    weight_decay: NonNegative = Field(description="Decay of matrices (not of biases and norms).")
    warm_share: Share = Field(
        description="Share of the steps in which the rate rises; after them it falls to nothing"
        " along half a cosine."
    )
    clip_norm: float = Field(gt=0, description="Largest norm of the gradient.")
    ema_decay: Share = Field(description="Decay of the moving average that is kept.")
    defect_weight: float = Field(gt=0, description="Weight of defective pixels in cross entropy.")
    dice_weight: NonNegative = Field(description="Weight of soft Dice beside it.")
    size_exponent: NonNegative = Field(
        description="A defect's pixels weigh its share of the picture to the power of minus this:"
        " at 0 large defects drown small ones, at 1 all defects weigh the same."
    )
    batch: Batch = Field(
        description="Samples of a batch; without labels simulated defects stand for real ones."
    )
    few_labels: Positive = Field(
        description="Of more labelled pictures than so many, two settings count for less, by the"
        " share that these are of all: `feature_network.channel_dropout` and the simulated defects"
        " of a batch (real ones come in their place). They help where labels are few. Steps grow"
        " with the cube root of the labels."
    )
    folds: int = Field(
        ge=2,
        description="Networks, all of which together are the detector, and parts to which labelled"
        " defects and normal pictures are dealt.",
    )
    left_out: Positive = Field(
        description="Parts that each network is trained without, fewer than half of them. A"
        " held-out picture is answered by as many networks together."
    )
    amounts: list[Share] = Field(
        description="What is chosen from: the factors of what is added. 0, the training-free map,"
        " must be one."
    )
    held_normals: Positive = Field(
        description="Normal pictures a part, at most, that the choice looks at."
    )
    least_gain: NonNegative = Field(
        description="What AP, PRO and image AUROC together, as fractions, must gain on what was"
        " held out; below it an amount is not taken; 0, any gain."
    )
    merit_noise: float = Field(
        gt=0,
        description="By how much of that sum amounts differ by chance: of 0 and those that gain,"
        " the one nearest to the mean of all is chosen, where those near the best count as much as"
        " it.",
    )

    @model_validator(mode="after")
    def _base_is_compared(self) -> "FeatureTraining":
        if 0 not in self.amounts:
            raise ValueError("amounts must have 0, the training-free map")
        return self


class AdclickVariant(Section):
    """A row of tables 1 and 7. `inputs` other than the residual show what the residual is worth;
    `pretrain: false` trains on the category's simulated defects from nothing.
    """

    language: bool = Field(description="With the language branch.")
    pretrain: bool = Field(
        description="Start from pretraining on other categories; else from nothing."
    )
    finetune: bool = Field(
        description="Finetuned on the category's simulated defects; else as pretrained."
    )
    inputs: Literal["residual", "image", "both"] = Field(
        description="What the trunk reads: `residual` (the paper's), `image` (the picture through"
        " an image stem, in its place), or `both` (the sum of their tokens)."
    )
    matching: Name | None = Field(
        None,
        description="The matching whose residuals it reads, also of the categories that it is"
        " pretrained on; without it the run's.",
    )
    published: Literal["simpleclick"] | None = Field(
        None,
        description="A network that others published, in place of ours: that of the peer of this"
        " name, finetuned from its weights (`click_peers`). It reads the picture alone. Without its"
        " weights the row stays empty.",
    )

    @model_validator(mode="after")
    def _is_trained(self) -> "AdclickVariant":
        if not (self.pretrain or self.finetune):
            raise ValueError("pretrain and finetune are both false: the network would be untrained")
        if self.published and (self.language or self.pretrain or self.inputs != "image"):
            raise ValueError(
                "published: such a network has weights of its own and reads the picture; set"
                " language and pretrain to false and inputs to image"
            )
        return self


class SegTraining(Section):
    """How an ADClick-Seg variant is trained, whatever residuals it reads."""

    supervision: Literal["unsupervised", "weak", "full", "box", "human"] = Field(
        description="`unsupervised` (simulated defects), `weak` (ADClick's labels), `full` (true"
        " masks of the same images), `box` (their bounding boxes, every pixel inside counted as"
        " defective), `human` (the finished labels that a person made of training defects with"
        " `adclick annotate`, of as many images as there are; see `datasets.labels`)."
    )
    pretrain: bool = Field(description="Start from pretraining on other categories.")
    iis: bool = Field(
        description="Train with simulated clicks and the normalized focal loss; else without"
        " clicks, focal loss."
    )
    language: bool = Field(description="With the language branch.")
    abandon: bool = Field(description="Label abandon (Eq. 9).")
    detector: Literal["features"] | None = Field(
        None,
        description="`features`: a network on frozen features and the residual that adds to the"
        " training-free map, as much as helps on held-out pictures; `feature_network` and"
        " `feature_training` are its settings. Without it the paper's trunk on the residual.",
    )

    @model_validator(mode="after")
    def _detector_has_its_inputs(self) -> "SegTraining":
        if self.detector is not None and (self.pretrain or self.iis or self.language):
            raise ValueError(
                "detector: features has no pretraining, no clicks and no words; set pretrain, iis"
                " and language to false"
            )
        return self


class SegVariant(SegTraining):
    """A row of tables 2-6 and 8, or, with fewer images or another number of clicks than the run's,
    a point of the figure of what labels buy.
    """

    matching: Name | None = Field(
        None,
        description="The matching whose residuals it reads, also of the categories that it is"
        " pretrained on; without it the run's. With `weak` its labels come from ADClick with the"
        " same matching.",
    )
    labelled_images: Positive | None = Field(
        None,
        description="How many of the training defects are labelled, types in turn; without it all."
        " Variants with a number here or below are in the figure of what labels buy"
        " (`figures/<data set>/<category>/labels.png`, `.csv`) and in no table.",
    )
    label_clicks: Positive | None = Field(
        None, description="Clicks a label (`weak`); without it `clicks.label_clicks`."
    )

    @model_validator(mode="after")
    def _labels_are_read(self) -> "SegVariant":
        if self.label_clicks is not None and self.supervision != "weak":
            raise ValueError("label_clicks: only labels of supervision weak have clicks")
        if self.labelled_images is not None and self.supervision == "unsupervised":
            raise ValueError("labelled_images: supervision unsupervised reads no label")
        if self.labelled_images is not None and self.supervision == "human":
            raise ValueError("labelled_images: supervision human reads all that a person finished")
        return self


class LabelCosts(Section):
    """Numbers of labelled images and of clicks, every pair of which is a variant like `weak`."""

    images: list[Positive] = Field(description="Numbers of labelled images, besides all.")
    clicks: list[Positive] = Field(
        description="Numbers of clicks a label, besides `clicks.label_clicks`."
    )

    def variants(self, weak: SegVariant) -> dict[str, SegVariant]:
        """Every pair but that of all images and the run's clicks, as `weak_3_images_1_click`,
        `weak_3_images`, `weak_1_click`.
        """
        pairs = itertools.product([*self.images, None], [*self.clicks, None])
        return {
            f"weak{_counted(images, 'image')}{_counted(clicks, 'click')}": weak.model_copy(
                update={"labelled_images": images, "label_clicks": clicks}
            )
            for images, clicks in pairs
            if (images, clicks) != (None, None)
        }


def _counted(count: int | None, thing: str) -> str:
    if count is None:
        return ""
    return f"_{count}_{thing}" if count == 1 else f"_{count}_{thing}s"
