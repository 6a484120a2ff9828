"""Writes tests/golden/values.json: what independent programs make of tests/golden/inputs.json.

Run once, outside the project's environment; the tests read the file and need none of this. Needed are Java, Perl
with XML::Twig, the scorer of the E2E challenge (its mteval-v13a-sig.pl and the folder with pymteval.py), and
multi-bleu.perl of the Moses toolkit:

    python -m venv /tmp/golden
    /tmp/golden/bin/pip install pycocoevalcap==1.2 rouge-score==0.1.2 sacrebleu==2.6.0 future
    /tmp/golden/bin/python tests/golden/make_golden.py --mteval mteval-v13a-sig.pl --pymteval FOLDER \\
        --multi-bleu multi-bleu.perl

METEOR runs from the jar of pycocoevalcap, once with the tables of tests/golden/meteor/ (exact and stem; all four
stages) and once as it comes, to show what its own word lists and tables change.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

import pycocoevalcap.meteor.meteor
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu
from sacrebleu.metrics import BLEU, TER

HERE = Path(__file__).parent
JAR = Path(pycocoevalcap.meteor.meteor.__file__).parent / "meteor-1.5.jar"
FIXED = 2  # mteval wants the same number of references everywhere
LONGEST = 5  # words in the longest sequence that NIST counts


def meteor(outputs: list[str], references: list[list[str]], *options: str) -> dict[str, object]:
    """Score of every segment and of the set; references are repeated up to the largest number of them."""
    most = max(map(len, references))
    with tempfile.TemporaryDirectory() as folder:
        test, truth = Path(folder, "test"), Path(folder, "references")
        test.write_text("".join(f"{text}\n" for text in outputs), encoding="utf-8")
        lines = [texts[i % len(texts)] for texts in references for i in range(most)]
        truth.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
        command = ["java", "-Xmx2G", "-jar", str(JAR), str(test), str(truth), "-l", "en", "-norm", "-r", str(most)]
        printed = subprocess.run([*command, *options], check=True, capture_output=True, encoding="utf-8").stdout
    segments = [float(value) for value in re.findall(r"Segment \d+ score:\s+(\S+)", printed)]
    assert len(segments) == len(outputs)
    return {"set": float(re.findall(r"Final score:\s+(\S+)", printed)[0]), "segments": segments}


def mteval(script: str, outputs: list[str], references: list[list[str]]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        columns = {"tst": [outputs], "src": [outputs], "ref": [[r[i] for r in references] for i in range(FIXED)]}
        for kind, sets in columns.items():
            lines = [f'<{kind}set setid="s" srclang="any" trglang="en">']
            for number, texts in enumerate(sets):
                lines.append(f'<doc docid="d" genre="g" origlang="any" sysid="{kind}{number}"><p>')
                lines += [f'<seg id="{i}">{escape(text, quote=False)}</seg>' for i, text in enumerate(texts, start=1)]
                lines.append("</p></doc>")
            Path(folder, kind).write_text("\n".join([*lines, f"</{kind}set>"]) + "\n", encoding="utf-8")
        files = [argument for flag, kind in (("-r", "ref"), ("-s", "src"), ("-t", "tst")) for argument in (flag, kind)]
        command = ["perl", str(Path(script).absolute()), *files, "-f", "log", "-d", "3"]
        printed = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", cwd=folder).stdout
    return {name: float(re.findall(rf"{name} score = ([0-9.]+)", printed)[0]) for name in ("NIST", "BLEU")}


def multi_bleu(script: str, outputs: list[str], references: list[list[str]]) -> float:
    """BLEU of tokenised texts, with two digits after the point."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(FIXED):
            Path(folder, f"reference{i}").write_text("".join(f"{texts[i]}\n" for texts in references), encoding="utf-8")
        command = ["perl", str(Path(script).absolute()), "-lc", "reference"]
        lines = "".join(f"{text}\n" for text in outputs)
        printed = subprocess.run(
            command, check=True, capture_output=True, encoding="utf-8", cwd=folder, input=lines
        ).stdout
    return float(re.findall(r"BLEU = ([0-9.]+),", printed)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mteval", required=True)
    parser.add_argument("--pymteval", required=True)
    parser.add_argument("--multi-bleu", required=True)
    options = parser.parse_args()
    sys.path.insert(0, options.pymteval)
    from pymteval import BLEUScore, NISTScore

    inputs = json.loads((HERE / "inputs.json").read_text(encoding="utf-8"))
    outputs = [example["output"] for example in inputs]
    references = [example["references"] for example in inputs]
    most = max(map(len, references))
    columns = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    values: dict[str, object] = {
        "versions": {name: importlib.metadata.version(name) for name in ("pycocoevalcap", "rouge-score", "sacrebleu")}
    }

    values["bleu"] = corpus_bleu(outputs, columns).score
    values["ter"] = TER().corpus_score(outputs, columns).score

    def split(text: str) -> str:
        return " ".join(" ".join(re.split(r"(\W)", text)).split())

    tokenised = [[text and split(text) for text in column] for column in columns]
    webnlg = BLEU(tokenize="none", lowercase=True, smooth_method="none", force=True)
    values["bleu_webnlg"] = webnlg.corpus_score([split(text) for text in outputs], tokenised).score

    bleu, nist = BLEUScore(), NISTScore()
    # it subtracts something for outputs of fewer words than the longest sequence, which mteval does not
    values["long"] = [i for i, output in enumerate(outputs) if len(bleu.tokenize(output)) >= LONGEST]
    for i in values["long"]:
        bleu.append(outputs[i], references[i])
        nist.append(outputs[i], references[i])
    values["pymteval"] = {"NIST": nist.score(), "BLEU": 100 * bleu.score()}
    several = [i for i, texts in enumerate(references) if len(texts) >= FIXED]
    values["mteval"] = mteval(options.mteval, [outputs[i] for i in several], [references[i] for i in several])
    in_words = [[split(text) for text in references[i]] for i in several]
    values["multi_bleu"] = multi_bleu(options.multi_bleu, [split(outputs[i]) for i in several], in_words)

    scorer = RougeScorer(["rougeL"])
    pairs = list(zip(outputs, references, strict=True))
    values["rouge_l_f1"] = [100 * scorer.score_multi(texts, output)["rougeL"].fmeasure for output, texts in pairs]

    cut = PTBTokenizer()
    output_words = cut.tokenize({i: [{"caption": text}] for i, text in enumerate(outputs)})
    reference_words = cut.tokenize({i: [{"caption": t} for t in texts] for i, texts in enumerate(references)})
    values["caption_words"] = {
        "outputs": [output_words[i][0] for i in range(len(outputs))],
        "references": [reference_words[i] for i in range(len(outputs))],
    }
    values["rouge_l"] = [100 * value for value in Rouge().compute_score(reference_words, output_words)[1]]
    values["cider"] = list(map(float, Cider().compute_score(reference_words, output_words)[1]))

    with tempfile.TemporaryDirectory() as folder:
        paraphrases = Path(folder, "paraphrases.gz")
        paraphrases.write_bytes(gzip.compress((HERE / "meteor" / "paraphrases.txt").read_bytes()))
        function_words = ["-s", str(HERE / "meteor" / "function.words")]
        two = [*function_words, "-m", "exact stem", "-w", "1.0 0.6"]
        four = [*function_words, "-d", str(HERE / "meteor" / "synonyms"), "-a", str(paraphrases)]
        captions = [output_words[i][0] for i in range(len(outputs))], [reference_words[i] for i in range(len(outputs))]
        values["meteor"] = meteor(outputs, references, *two)
        values["meteor_e2e"] = meteor(*captions, *two)
        values["meteor_four_stages"] = meteor(outputs, references, *four)
        values["meteor_as_it_comes"] = meteor(outputs, references)

    (HERE / "values.json").write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
