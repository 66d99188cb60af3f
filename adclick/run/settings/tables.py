"""The result tables: what each holds, once for plan, rules and reports.

A table is one entry of `TABLES`; a run makes those that its configuration lists under `tables`.
"""

from typing import Literal

from adclick.run.settings.section import Section

CLICK_METRICS = ("pixel_ap", "pixel_pro", "pixel_auroc", "miou")
PIXEL_METRICS = ("pixel_ap", "pixel_pro", "pixel_auroc")


class TableLayout(Section):
    """What a table holds.

    `kind` says what is measured: clicks or maps. Its rows are all methods of that kind; of maps
    those whose supervision fits the `test_set`; with `switches`, which map a printed name of the
    paper's ablation to a variant's setting, the variants of the ablation. `counterparts` maps our
    method to the published row that it repeats.
    """

    number: int
    title: str
    kind: Literal["clicks", "maps"]
    metrics: tuple[str, ...]
    test_set: Literal["", "unsupervised", "supervised"] = ""
    clicks: tuple[int, ...] = ()
    per_category: bool = True
    remark: str = ""
    counterparts: dict[str, str] = {}
    switches: dict[str, str] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys of the number columns in the published file's spelling: `pixel_ap`, `miou@5`."""
        if not self.clicks:
            return self.metrics
        return tuple(f"{metric}@{count}" for count in self.clicks for metric in self.metrics)


_UNSUPERVISED = {
    "unsupervised": "Ours",
    "unsupervised_sliding": "Ours (with sliding)",
    "patchcore": "PatchCore",
    "reverse_distillation": "RD",
    "draem": "DRAEM",
    "draem_sspcab": "SSPCAB",
}
_SUPERVISED = {
    "weak": "Ours(weak)",
    "devnet_full": "DevNet",
    "dra_full": "DRA",
    "prn_full": "PRN",
}
_ALL = (
    TableLayout(
        number=1,
        title="Interactive labelling: all defective images of a category, after 5, 3 and 1 clicks",
        kind="clicks",
        metrics=CLICK_METRICS,
        clicks=(5, 3, 1),
        remark="Published rows with * were finetuned on simulated defects and normal images of the"
        " category.",
        counterparts={
            "finetuned_lang": "Ours*",
            "pretrained_lang": "Ours",
            "simpleclick": "SimpleClick",
            "simpleclick_finetuned": "SimpleClick*",
            "sam": "SAM",
        },
    ),
    TableLayout(
        number=2,
        title="Unsupervised anomaly localisation",
        kind="maps",
        metrics=PIXEL_METRICS,
        test_set="unsupervised",
        counterparts=_UNSUPERVISED,
    ),
    TableLayout(
        number=3,
        title="Unsupervised anomaly detection, averaged over categories",
        kind="maps",
        metrics=("image_auroc",),
        test_set="unsupervised",
        per_category=False,
        counterparts=_UNSUPERVISED,
    ),
    TableLayout(
        number=4,
        title="Supervised anomaly localisation",
        kind="maps",
        metrics=PIXEL_METRICS,
        test_set="supervised",
        counterparts=_SUPERVISED,
    ),
    TableLayout(
        number=5,
        title="Supervised anomaly detection, averaged over categories",
        kind="maps",
        metrics=("image_auroc",),
        test_set="supervised",
        per_category=False,
        counterparts={**_SUPERVISED, "bgad_full": "BGAD"},
    ),
    TableLayout(
        number=6,
        title="Supervised anomaly localisation and detection on one surface",
        kind="maps",
        metrics=(*PIXEL_METRICS, "image_auroc"),
        test_set="supervised",
        counterparts={"weak": "Ours (weak)", "prn_full": "PRN"},
    ),
    TableLayout(
        number=7,
        title="Ablation of ADClick, averaged over categories",
        kind="clicks",
        metrics=CLICK_METRICS,
        clicks=(5, 3),
        per_category=False,
        switches={"Language": "language", "Finetune": "finetune"},
    ),
    TableLayout(
        number=8,
        title="Ablation of ADClick-Seg, averaged over categories",
        kind="maps",
        metrics=(*PIXEL_METRICS, "image_auroc"),
        test_set="supervised",
        per_category=False,
        switches={
            "Pretrain": "pretrain",
            "IIS": "iis",
            "Lang.": "language",
            "Abandon": "abandon",
        },
    ),
)
TABLES = {one.number: one for one in _ALL}
