"""Search over the decisions of kernel templates, on the devices that the kernels are for."""
