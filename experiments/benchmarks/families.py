"""Compile time and train step of every CNN family's CIFAR form beside the same network in plain Flax and in torch.

Each net has a process of its own, in which the programs alternate; all sides have the programs' allocator setting.
The batch is what keeps a step near a second on two cores. Random regularizers are off, as the rivals have none.
Each is compiled five times, the programs by turns and from nothing: seconds are medians, and the ratio, of trace and
compilation together, has the same interval as that of a step.
"""

from experiments.benchmarks import convolution

TITLE = "train step of the CNN families (ms; ratios to plain flax with bootstrap 95 % intervals)"

BATCHES = {
    "lenet5": 128,
    "vgg11_bn_cifar": 32,
    "nin_cifar": 32,
    "googlenet_cifar": 8,
    "resnet20": 128,
    "wrn16_4": 32,
    "densenet40_12": 32,
    "fractalnet20": 8,
}


def run(quick: bool) -> list[dict]:
    """Interleaved rounds, one process a net.

    Args:
        quick: 2 rounds instead of 10.

    Returns:
        one row a net and program: milliseconds a step (median), the ratio to plain flax with its interval, seconds to
        trace and to compile (medians), the ratio of their sum with its interval, and megabytes of temporaries.
    """
    rows = []
    for net, batch in BATCHES.items():
        for row in convolution.in_a_process(2 if quick else 10, True, net, batch):
            rows.append({"net": net, "batch": batch, **{k: v for k, v in row.items() if k != "pages kept"}})
    return rows
