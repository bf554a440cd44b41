"""Signs that nobody mentions: each is said where it holds, and not where it does not."""

import json
import math

import pytest

from var_scaling.runs import symptoms

HEALTHY = {
    "usage": 1.0,
    "validation_images": 500,
    "usage_per_scale": {"1": 0.6, "2": 1.0, "4": 1.0},
    "perplexity_per_scale": {"1": 200.0, "2": 380.0, "4": 400.0},
}


@pytest.mark.parametrize(
    ("label_drop", "guidances", "says"),
    [
        (0.1, [(1.5, 0.9)], []),
        (0.0, [(0.0, 0.0)], []),
        (0.0, [], []),
        (0.0, [(0.0, 0.0), (1.5, 0.9)], ["guidance 1.5 without label dropout"]),
        (0.1, [(3.0, 0.0), (0.0, 0.0), (3.0, 0.0)], ["guidance 3 with a single scale has no effect"]),
        (0.0, [(3.0, 0.0)], ["without label dropout", "single scale"]),
    ],
)
def test_guidance_that_cannot_work(label_drop, guidances, says):
    found = list(symptoms.of_guidance(label_drop, guidances))
    assert len(found) == len(says)
    assert all(part in sentence for part, sentence in zip(says, found, strict=True))


def test_a_collapsed_codebook_is_told_with_its_codes():
    assert list(symptoms.of_tokenizer(HEALTHY, 512)) == []
    one = HEALTHY | {"usage": 1 / 512, "usage_per_scale": {"1": 1 / 512}, "validation_images": 60}
    assert "1 of 512 codes are used (0.2%)" in next(symptoms.of_tokenizer(one, 512))
    assert "10 of 512 codes" in next(symptoms.of_tokenizer(HEALTHY | {"usage": 0.0195}, 512))
    few = {"usage": 0.05, "validation_images": 60, "usage_per_scale": {"1": 0.01, "2": 0.05}}
    assert list(symptoms.of_tokenizer(few, 4096)) == [], "300 tokens cannot use more than 7 % of 4,096 codes"
    assert list(symptoms.of_tokenizer({}, 512)) == []


def row(loss, error=0.9, **more):
    return {"vocab_size": 512, "loss_all_scales": loss, "error_all_scales": error, "label_drop": 0.1} | more


def test_a_model_that_has_learnt_only_how_often_codes_occur():
    known = (math.log(200) + 4 * math.log(380) + 16 * math.log(400)) / 21
    assert "98% of its tokens are wrong" in next(symptoms.of_row(row(0.95 * known, 0.98), HEALTHY))
    assert "has hardly learnt" in next(symptoms.of_row(row(math.log(512)), HEALTHY))
    assert list(symptoms.of_row(row(0.8 * known), HEALTHY)) == []
    constant = {**HEALTHY, "perplexity_per_scale": {"1": 1.0}, "usage_per_scale": {"1": 1 / 512}}
    assert "almost constants" in next(symptoms.of_row(row(0.0, 0.0), constant))
    assert list(symptoms.of_row(row(6.0), {})) == []


def test_a_tokenizer_below_thumbnails_and_a_floor_of_other_classes():
    def sanity(back):
        rows = {"real (validation)": 0.0, "reconstructed": back, "shrunk to 8x8 and back": 13.6, "uniform noise": 90.0}
        return [{"images": name, "fid_corrected": value} for name, value in rows.items()]

    assert "rFID 14.43, theirs 13.60" in next(symptoms.of_reconstructions({}, sanity(14.43)))
    assert list(symptoms.of_reconstructions({"class_share_gap": 0.01}, sanity(0.37))) == []
    assert "differ by 30%" in next(symptoms.of_reconstructions({"class_share_gap": 0.3}, None))
    assert "no rFID of the tokenizer: 60 images" in next(symptoms.of_reconstructions({"note": "60 images"}, None))


def test_a_reference_that_is_most_of_the_number():
    fid = {"label": "x", "fid_corrected": 6.3, "fid_high": 6.5, "reference_images": 180}
    assert "180 images alone adds" in next(symptoms.of_evaluation(fid | {"fid_reference_bias": 5.0}))
    assert list(symptoms.of_evaluation(fid | {"fid_reference_bias": 0.01})) == []
    assert "no FID x: too few" in next(symptoms.of_evaluation({"label": "x", "note": "too few"}))


def test_a_fid_that_does_not_see_blur():
    sanity = [
        {"images": "real (validation)", "fid_corrected": 0.0},
        {"images": "blurred (3x3 mean)", "fid_corrected": 3.26},
    ]
    fid = {"label": "x", "features": "classifier", "fid_corrected": 2.28}
    assert "under a 3x3 blur (3.26)" in next(symptoms.of_blindness(fid, sanity))
    assert list(symptoms.of_blindness(fid | {"fid_corrected": 3.5}, sanity)) == []
    assert list(symptoms.of_blindness(fid | {"features": "shape"}, sanity)) == []
    assert list(symptoms.of_blindness(fid, None)) == []


def test_copies_of_training_images_and_classes_that_are_not_told_apart():
    assert "40% of its samples are copies" in next(symptoms.of_evaluation({"copies": 0.4, "copies_by_chance": 0.003}))
    assert list(symptoms.of_evaluation({"copies": 0.4, "copies_by_chance": 0.39})) == [], "a set of near-equal images"
    assert "agrees with 11% of them" in next(symptoms.of_evaluation({"class_agreement": 0.11, "classes": 10}))
    assert list(symptoms.of_evaluation({"class_agreement": 0.11, "classes": 100})) == []
    assert list(symptoms.of_evaluation({"class_agreement": 1.0, "classes": 1})) == []


def test_a_sweep_tells_each_once_with_its_trials_by_their_largest_budget(tmp_path):
    def write(path, value):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    stages = ["store/tokenizer/t", "store/reconstruction/r"]
    write(tmp_path / "store/tokenizer/t/result/report.json", HEALTHY)
    write(tmp_path / "store/reconstruction/r/result/report.json", {"note": "60 images"})
    trials = []
    for depth, losses in ((2, (6.1, 6.1)), (3, (6.1, 3.0)), (4, (6.1,))):
        folder = f"var-d{depth}-s0-0123456789ab"
        for budget, loss in zip((100, 200), losses, strict=False):
            write(tmp_path / "trials" / folder / "budgets" / str(budget) / "row.json", row(loss))
        budgets = [{"images": 100, "asked": 100}, {"images": 200, "asked": 200}]
        trials.append({"folder": folder, "stages": stages, "budgets": budgets, "evaluations": ["fid-a.json"]})
    found = symptoms.of_sweep(tmp_path, {"trials": trials})
    assert len(found) == 2, found
    assert found[0].startswith("d2-s0-01234567, d4-s0-01234567: has hardly learnt")
    assert found[1].startswith("all trials: no rFID")
    assert symptoms.of_sweep(tmp_path, {"trials": []}) == []
    first = tmp_path / "trials" / trials[0]["folder"] / "budgets" / "200"
    write(first / "row.json", {"images_seen": 200})
    assert len(symptoms.of_sweep(tmp_path, {"trials": trials[:1]})) == 1, "another family's row: only the floor is told"
    write(first / "row.json", {"label_drop": 0.0})
    write(first / "evaluations" / "fid-a.json", {"label": "x", "guidance": 3.0, "guidance_mean": 0.0})
    assert len(symptoms.of_sweep(tmp_path, {"trials": trials[:1]})) == 3
