"""PoseNet's decoding: from the best parts of people along the tree of joints to whole people (arXiv:1803.08225)."""

import math
from collections.abc import Sequence

from tvm import tirx

from tvmpose.cards.heads import PartsHead
from tvmpose.errors import ModelError
from tvmpose.kernels.activation import activated
from tvmpose.kernels.centre import grid_layout
from tvmpose.kernels.keypoints import write_keypoint
from tvmpose.kernels.script import T

REFINEMENTS = 2  # how often a joint is moved by the offset at the cell it lies in, as TensorFlow.js does


def parts_kernel(
    head: PartsHead,
    *,
    name: str,
    shapes: Sequence[Sequence[int]],
    num_keypoints: int,
    input_size: tuple[int, int],
    half_pixel_centers: bool,
) -> tirx.PrimFunc:
    """Return the kernel of a PartsHead; arguments as detections_kernel's, the outputs in the order of ``head.tensors``.

    Cells lie ``head.stride`` pixels apart, the first at pixel 0, whatever the pixels' centres are. A person's box is
    the one around the joints. Raises ModelError for shapes that do not fit.
    """
    edges, most, stride = head.edges, head.max_people, head.stride
    if max(max(edge) for edge in edges) >= num_keypoints or len(edges) != num_keypoints - 1:
        raise ModelError(f"a tree of {len(edges)} edges does not join {num_keypoints} keypoints")
    depths = (num_keypoints, 2 * num_keypoints, 2 * len(edges), 2 * len(edges))
    channels_last, rows, columns = grid_layout(shapes, depths)
    maps, offsets_shape, forward_shape, backward_shape = (tuple(shape) for shape in shapes)
    cells = rows * columns * num_keypoints

    def at(tensor, row, column, channel):
        return tensor[0, row, column, channel] if channels_last else tensor[0, channel, row, column]

    def chosen(values, index):
        """Of a table of constants, by a variable."""
        result = T.int32(values[-1])
        for place, value in enumerate(values[:-1]):
            result = T.Select(index == place, T.int32(value), result)
        return result

    def nearest(position, count):
        cell = T.Cast("int32", T.floor(position * T.float64(1 / stride) + T.float64(0.5)))
        return T.max(T.min(cell, count - 1), 0)

    def squared(value):
        return value * value

    @T.inline
    def collect(heat, ids, values, count):
        """The cells that are high enough, and not lower than a neighbour: keypoint, row and column in one number."""
        count[0] = 0
        for k, row, column in T.grid(num_keypoints, rows, columns):
            here: T.let = at(heat, row, column, k)
            if activated(here, head.score_activation) >= T.float32(head.threshold):
                highest = T.alloc_buffer((1,), "int32")
                highest[0] = 1
                for dy, dx in T.grid(3, 3):
                    below: T.let = T.max(T.min(row + dy - 1, rows - 1), 0)
                    beside: T.let = T.max(T.min(column + dx - 1, columns - 1), 0)
                    if at(heat, below, beside, k) > here:
                        highest[0] = 0
                if highest[0] == 1:
                    ids[count[0]] = (k * rows + row) * columns + column
                    values[count[0]] = here
                    count[0] = count[0] + 1

    @T.inline
    def is_taken(joints, people, k, y, x, taken):
        """Whether a person before has this joint nearby."""
        taken[0] = 0
        for other in T.serial(people):
            distance: T.let = squared(joints[(other * num_keypoints + k) * 3] - y) + squared(
                joints[(other * num_keypoints + k) * 3 + 1] - x
            )
            if distance <= T.float64(head.radius * head.radius):
                taken[0] = 1

    @T.inline
    def follow(heat, offset, displacement, joints, first, edge, source, target):
        """From a joint along an edge to the next."""
        place = T.alloc_buffer((2,), "float64")
        from_row: T.let = nearest(joints[(first + source) * 3], rows)
        from_column: T.let = nearest(joints[(first + source) * 3 + 1], columns)
        place[0] = joints[(first + source) * 3] + T.Cast("float64", at(displacement, from_row, from_column, edge))
        place[1] = joints[(first + source) * 3 + 1] + T.Cast(
            "float64", at(displacement, from_row, from_column, edge + len(edges))
        )
        cell = T.alloc_buffer((2,), "int32")
        for _ in T.serial(REFINEMENTS):
            cell[0] = nearest(place[0], rows)
            cell[1] = nearest(place[1], columns)
            place[0] = cell[0] * stride + T.Cast("float64", at(offset, cell[0], cell[1], target))
            place[1] = cell[1] * stride + T.Cast("float64", at(offset, cell[0], cell[1], target + num_keypoints))
        cell[0] = nearest(place[0], rows)
        cell[1] = nearest(place[1], columns)
        joints[(first + target) * 3] = place[0]
        joints[(first + target) * 3 + 1] = place[1]
        joints[(first + target) * 3 + 2] = T.Cast(
            "float64", activated(at(heat, cell[0], cell[1], target), head.score_activation)
        )

    @T.inline
    def grow(heat, offset, forward, backward, joints, person, known):
        """All joints of a person from the root that is known: up the tree, then down."""
        first: T.let = person * num_keypoints
        for step in T.serial(len(edges)):
            edge: T.let = len(edges) - 1 - step
            parent: T.let = chosen([edge[0] for edge in edges], edge)
            child: T.let = chosen([edge[1] for edge in edges], edge)
            if T.And(known[child] == 1, known[parent] == 0):
                follow(heat, offset, backward, joints, first, edge, child, parent)
                known[parent] = 1
        for edge in T.serial(len(edges)):
            parent: T.let = chosen([edge[0] for edge in edges], edge)
            child: T.let = chosen([edge[1] for edge in edges], edge)
            if T.And(known[parent] == 1, known[child] == 0):
                follow(heat, offset, forward, joints, first, edge, parent, child)
                known[child] = 1

    @T.inline
    def write(joints, person, taken, matrix, keypoints, people, boxes):
        mine = T.alloc_buffer((1,), "float64")
        mine[0] = T.float64(0)
        for k in T.serial(num_keypoints):
            at_joint: T.let = (person * num_keypoints + k) * 3
            is_taken(joints, person, k, joints[at_joint], joints[at_joint + 1], taken)
            if taken[0] == 0:
                mine[0] = mine[0] + joints[at_joint + 2]
            score: T.let = T.Cast("float32", joints[at_joint + 2])
            write_keypoint(keypoints, person * num_keypoints + k, joints[at_joint + 1], joints[at_joint], score, matrix)
        people[person] = T.Cast("float32", mine[0] / T.float64(num_keypoints))
        for axis in T.serial(2):
            low: T.let = person * 4 + axis
            boxes[low] = keypoints[person * num_keypoints * 3 + axis]
            boxes[low + 2] = keypoints[person * num_keypoints * 3 + axis]
            for k in T.serial(num_keypoints):
                value: T.let = keypoints[(person * num_keypoints + k) * 3 + axis]
                boxes[low] = T.min(boxes[low], value)
                boxes[low + 2] = T.max(boxes[low + 2], value)
            boxes[low + 2] = boxes[low + 2] - boxes[low]

    @T.prim_func
    def decode(
        heat: T.Buffer(maps, "float32"),
        offset: T.Buffer(offsets_shape, "float32"),
        forward: T.Buffer(forward_shape, "float32"),
        backward: T.Buffer(backward_shape, "float32"),
        matrix: T.Buffer((6,), "float64"),
        keypoints: T.Buffer((most * num_keypoints * 3,), "float32"),
        people: T.Buffer((most,), "float32"),
        boxes: T.Buffer((most * 4,), "float32"),
        found: T.Buffer((1,), "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        ids = T.alloc_buffer((cells,), "int32")
        values = T.alloc_buffer((cells,), "float32")
        joints = T.alloc_buffer((most * num_keypoints * 3,), "float64")  # y, x, score
        known = T.alloc_buffer((num_keypoints,), "int32")
        count = T.alloc_buffer((1,), "int32")
        best = T.alloc_buffer((1,), "int32")
        top = T.alloc_buffer((1,), "float32")
        taken = T.alloc_buffer((1,), "int32")
        collect(heat, ids, values, count)
        found[0] = 0
        for _ in T.serial(count[0]):
            if found[0] < most:
                best[0] = 0
                top[0] = T.float32(-math.inf)
                for other in T.serial(count[0]):
                    if T.And(ids[other] >= 0, values[other] > top[0]):
                        best[0] = other
                        top[0] = values[other]
                k: T.let = ids[best[0]] // (rows * columns)
                row: T.let = ids[best[0]] // columns % rows
                column: T.let = ids[best[0]] % columns
                y: T.let = T.Cast("float64", at(offset, row, column, k)) + row * stride
                x: T.let = T.Cast("float64", at(offset, row, column, k + num_keypoints)) + column * stride
                is_taken(joints, found[0], k, y, x, taken)
                if taken[0] == 0:
                    for joint in T.serial(num_keypoints):
                        known[joint] = 0
                    known[k] = 1
                    joints[(found[0] * num_keypoints + k) * 3] = y
                    joints[(found[0] * num_keypoints + k) * 3 + 1] = x
                    joints[(found[0] * num_keypoints + k) * 3 + 2] = T.Cast(
                        "float64", activated(values[best[0]], head.score_activation)
                    )
                    grow(heat, offset, forward, backward, joints, found[0], known)
                    write(joints, found[0], taken, matrix, keypoints, people, boxes)
                    found[0] = found[0] + 1
                ids[best[0]] = -1

    return decode
