"""What decode kernels of a single person write: keypoints in image coordinates and the person's score."""

from tvmpose.kernels.script import T


@T.inline
def write_keypoint(keypoints, keypoint, x, y, score, matrix):
    """x, y: float64, in pixels of the network's input."""
    keypoints[keypoint * 3] = T.Cast("float32", matrix[0] * x + matrix[1] * y + matrix[2])
    keypoints[keypoint * 3 + 1] = T.Cast("float32", matrix[3] * x + matrix[4] * y + matrix[5])
    keypoints[keypoint * 3 + 2] = score


@T.inline
def write_mean_score(keypoints, num_keypoints, person):
    """The person's score, where the network has none: the mean of the keypoints'."""
    person[0] = T.float32(0)
    for k in T.serial(num_keypoints):
        person[0] += keypoints[k * 3 + 2] / T.float32(num_keypoints)


def cell_to_pixel(cell, stride, half_pixel_centers):
    """Position along an axis of a cell, or between cells, in pixels of the input; cells are ``stride`` apart."""
    pixel = T.Cast("float64", cell) * T.float64(stride)
    return pixel + T.float64((stride - 1) / 2) if half_pixel_centers else pixel
