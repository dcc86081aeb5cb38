"""The optimiser without what PyTorch spends for nothing."""

from inspect import unwrap

import torch


class Adam(torch.optim.Adam):
    """PyTorch's own, which imports the compiler (170 MiB, more than a second) only to say that it is not to be compiled."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    load_state_dict, state_dict = unwrap(torch.optim.Adam.load_state_dict), unwrap(torch.optim.Adam.state_dict)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
