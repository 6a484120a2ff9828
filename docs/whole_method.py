"""The whole method in one script: teachers, shared prompt, a new task. About two minutes on two cores."""

import multiprompt as mp

backbone = mp.load_backbone("embedded")
data = mp.DataOptions(max_train=2000, max_dev=200, max_test=1000)
shape = mp.PromptOptions(length=20, factor_start="near_one")


def training(steps: int, batch_size: int = 32) -> mp.TrainingOptions:
    return mp.TrainingOptions(steps=steps, batch_size=batch_size, select="last", dropout=False)


# Stage 1a: a teacher prompt for every source task, by ordinary prompt tuning.
names = ("mini-mnli", "mini-qnli", "mini-qqp", "mini-sst2", "mini-squad", "mini-record")
sources = [mp.load_task(name, backbone, data) for name in names]
options = mp.TeacherOptions(learning_rate=0.05, training=training(300))
teachers = [mp.train_teacher(backbone, task, options, shape)[0] for task in sources]

# Stage 1b: one shared prompt P* with u, v per task, distilled from the teachers (Eq. 5).
student, report = mp.train_source(
    backbone, sources, teachers,
    mp.SourceOptions(tasks=names, learning_rate=0.05, factor_learning_rate=0.02, training=training(350, 48)),
    shape,
)  # fmt: skip
print(f"source training: {report.examples_per_second:.0f} examples/s, dev metric {report.dev_value:.1f}")

# Stage 2: a task that no stage has seen, from P* and the mean of the source tasks' u and v.
target = mp.load_task("mini-rte", backbone, data)
rates = mp.MptOptions(learning_rate=0.05, factor_learning_rate=0.02)
adapted, _ = mp.adapt_target(backbone, [target], student, rates, training(150))

result = mp.evaluate(backbone, target, adapted)
print(f"mini-rte: accuracy {result.value:.1f}, 95 % interval {result.interval}, majority {result.majority:.1f}")
source = target.data.test[0].source
print(f"{source!r} -> {mp.answer(backbone, target, adapted, [source])[0]!r}")
