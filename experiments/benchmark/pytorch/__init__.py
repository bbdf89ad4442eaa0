"""The same meta-iterations in plain PyTorch, to measure against: ``python -m experiments.benchmark.pytorch``.

Needs the extra ``peers``. The peer does the work that changes parameters, in the form that PyTorch is fastest in:
`torch.func` under `torch.compile`, vectorised over tasks and episodes, random numbers drawn in one call, Adam inside the
compiled graph. It leaves out our metrics
(KL, entropy, cosine of the tasks' gradients) and the baseline's retries, which favours it.
"""
