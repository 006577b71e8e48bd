"""Depth and normals of a photo from its neighbours: PatchMatch stereo with slanted windows, compiled by numba.

The search follows Galliani et al. 2015 (Gipuma: half the pixels, as on a chessboard, take over the planes of their
neighbours at a time). The likelihoods follow Schoenberger et al. 2016 (COLMAP: bilaterally weighted normalised
cross-correlation over a plane-induced homography), with 25 samples per window and the best two neighbouring photos.
"""
import math

import numpy as np
from numba import njit, prange

BAD = 2.0  # cost of a hypothesis that cannot be judged; 1 - NCC lies in [0, 2]
_SIGMA_COLOUR = 25.0
SAMPLES = 24  # per window, five by five without the middle: three vectors of eight. A constant, so that LLVM can vectorize
_X, _Y, _NEAR, _WEIGHT, _PRODUCT, _RIGHT, _DOWN, _AT = (k * SAMPLES for k in range(8))  # where a window keeps each sample's values
_ONE, _BAD32 = np.float32(1.0), np.float32(BAD)
_ALIKE = np.exp(-0.5 * (np.arange(256) / _SIGMA_COLOUR) ** 2).astype(np.float32)  # weight by the difference of two grey values
_BYTE = np.uint32(255)
_LEAST_VARIANCE = np.float32(2.0)  # grey values squared; windows that vary less have nothing to compare


@njit(inline="always")
def _random(state: np.ndarray, y: int, x: int) -> float:
    """Uniform in [0, 1). Each pixel has its own xorshift generator, so results do not depend on the number of threads."""
    s = state[y, x]
    s ^= (s << np.uint32(13)) & np.uint32(0xFFFFFFFF)
    s ^= s >> np.uint32(17)
    s ^= (s << np.uint32(5)) & np.uint32(0xFFFFFFFF)
    state[y, x] = s
    return float(s >> np.uint32(8)) / 16777216.0


def packed(pictures: np.ndarray) -> np.ndarray:
    """Each pixel (S, h, w; 8 bit) with its neighbours to the right, below, and below right in one uint32.

    A sample between pixels then needs one load instead of four. The search spends most of its time on loads.
    """
    wide = np.pad(pictures, ((0, 0), (0, 1), (0, 1)), mode="edge").astype(np.uint32)
    return wide[:, :-1, :-1] | wide[:, :-1, 1:] << 8 | wide[:, 1:, :-1] << 16 | wide[:, 1:, 1:] << 24


@njit(inline="always", fastmath=True)
def _find(flat, width, height, A, shift, x, y, na, nb, nc, window, four, radius):
    """Look up a neighbouring photo's pixels where the plane (na, nb, nc) = n K^-1 / d puts the window. False if it is not all inside.

    The homography counts as affine within the window, which is a few pixels wide. This takes one division instead of one per
    sample, and a loop without branches, which LLVM vectorizes. Rounding to 32 bits stays below 1e-3 pixels.
    """
    h20 = A[2, 0] + shift[2] * na
    h21 = A[2, 1] + shift[2] * nb
    w = h20 * x + h21 * y + A[2, 2] + shift[2] * nc
    if w <= np.float32(1e-9):
        return False
    h00 = A[0, 0] + shift[0] * na
    h01 = A[0, 1] + shift[0] * nb
    h10 = A[1, 0] + shift[1] * na
    h11 = A[1, 1] + shift[1] * nb
    part = _ONE / w
    u0 = (h00 * x + h01 * y + A[0, 2] + shift[0] * nc) * part
    v0 = (h10 * x + h11 * y + A[1, 2] + shift[1] * nc) * part
    ux, uy = (h00 - u0 * h20) * part, (h01 - u0 * h21) * part
    vx, vy = (h10 - v0 * h20) * part, (h11 - v0 * h21) * part
    wide, high = (abs(ux) + abs(uy)) * radius, (abs(vx) + abs(vy)) * radius
    if not (u0 - wide >= np.float32(0.0) and v0 - high >= np.float32(0.0)
            and u0 + wide <= np.float32(width - 1.01) and v0 + high <= np.float32(height - 1.01)):
        return False
    across = np.float32(width)
    # Separate loops: otherwise LLVM computes the places one by one, as addresses.
    for k in range(SAMPLES):
        u = u0 + ux * window[_X + k] + uy * window[_Y + k]
        v = v0 + vx * window[_X + k] + vy * window[_Y + k]
        iu, iv = np.floor(u), np.floor(v)
        window[_RIGHT + k], window[_DOWN + k] = u - iu, v - iv
        window[_AT + k] = iv * across + iu
    for k in range(SAMPLES):
        four[k] = flat[np.uintp(np.int64(window[_AT + k]))]  # whole numbers are exact in a float below 2^24
    return True


@njit(inline="always", fastmath=True)
def _between(four, right, down):
    """The grey value between four packed pixels."""
    a = np.float32(np.int32(four & _BYTE))
    b = np.float32(np.int32((four >> np.uint32(8)) & _BYTE))
    c = np.float32(np.int32((four >> np.uint32(16)) & _BYTE))
    d = np.float32(np.int32(four >> np.uint32(24)))
    top = a + right * (b - a)
    low = c + right * (d - c)
    return top + down * (low - top)


@njit(fastmath=True)
def _cost_in(flat, width, height, A, shift, x, y, na, nb, nc, window, four, radius, mean, variance):
    """1 - weighted NCC of one neighbouring photo for the plane (na, nb, nc) = n K^-1 / d."""
    if not _find(flat, width, height, A, shift, x, y, na, nb, nc, window, four, radius):
        return _BAD32
    s, ss, rs = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for k in range(SAMPLES):
        g = _between(four[k], window[_RIGHT + k], window[_DOWN + k])
        wg = window[_WEIGHT + k] * g
        s += wg
        ss += wg * g
        rs += window[_PRODUCT + k] * g
    var = ss - s * s
    if var < _LEAST_VARIANCE:
        return _BAD32
    return _ONE - (rs - s * mean) / np.float32(math.sqrt(var * variance))


@njit(inline="always", fastmath=True)
def _cost(flat, width, height, A, b, x, y, depth, n0, n1, n2, Kinv, window, four, radius, mean, variance):
    """The mean cost of the two best neighbouring photos, or the cost of the only one."""
    fx, fy = np.float32(x), np.float32(y)
    rx = Kinv[0, 0] * fx + Kinv[0, 2]
    ry = Kinv[1, 1] * fy + Kinv[1, 2]
    d = depth * (n0 * rx + n1 * ry + n2)
    if d > np.float32(-1e-12) and d < np.float32(1e-12):
        return _BAD32
    part = _ONE / np.float32(d)
    na = np.float32(n0 * Kinv[0, 0] * part)
    nb = np.float32(n1 * Kinv[1, 1] * part)
    nc = np.float32((n0 * Kinv[0, 2] + n1 * Kinv[1, 2] + n2) * part)
    first, second = _BAD32, _BAD32
    for s in range(flat.shape[0]):
        c = _cost_in(flat[s], width, height, A[s], b[s], fx, fy, na, nb, nc, window, four, np.float32(radius),
                     mean, variance)
        if c < first:
            second = first
            first = c
        elif c < second:
            second = c
    if flat.shape[0] == 1:
        return first
    return np.float32(0.5) * (first + second)


@njit
def _new_window(radius):
    """Memory for a window: offsets and distance weights of its samples, and room for what ``_look`` and ``_cost_in`` fill in.

    All values are in one array, at fixed distances. LLVM then sees that reads and writes do not overlap, and vectorizes.
    """
    window = np.empty(8 * SAMPLES, np.float32)
    for k in range(SAMPLES):
        place = k + 1 if k >= 12 else k
        x, y = (place % 5 - 2) * 0.5 * radius, (place // 5 - 2) * 0.5 * radius
        window[_X + k], window[_Y + k] = x, y
        window[_NEAR + k] = math.exp(-0.5 * (x * x + y * y) / (radius * radius))
    return window, np.empty(SAMPLES, np.uint32)


@njit(fastmath=True)
def _look(image, y, x, window):
    """Fill in a window's bilateral weights (sum 1; 0 outside the photo), and weights times values. Returns mean and variance."""
    height, width = image.shape
    centre = np.int64(image[y, x])
    total, s, ss = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for k in range(SAMPLES):
        yy, xx = y + int(window[_Y + k]), x + int(window[_X + k])
        if yy < 0 or xx < 0 or yy >= height or xx >= width:
            window[_WEIGHT + k] = window[_PRODUCT + k] = 0.0
            continue
        level = np.int64(image[yy, xx])
        value = np.float32(level)
        w = window[_NEAR + k] * _ALIKE[np.uintp(abs(level - centre))]
        window[_WEIGHT + k] = w
        window[_PRODUCT + k] = w * value
        total += w
        s += w * value
        ss += w * value * value
    part = _ONE / total
    for k in range(SAMPLES):
        window[_WEIGHT + k] *= part
        window[_PRODUCT + k] *= part
    mean = s * part
    return mean, ss * part - mean * mean


@njit(parallel=True, fastmath=True, cache=True)
def start_costs(image, sources, A, b, Kinv, mask, depth, normal, cost, radius):
    """Fill in the costs of the given depths and normals."""
    height, width = image.shape
    count, high, wide = sources.shape
    flat = sources.reshape(count, high * wide)
    for y in prange(height):
        window, four = _new_window(radius)
        for x in range(width):
            if not mask[y, x]:
                cost[y, x] = BAD
                continue
            mean, variance = _look(image, y, x, window)
            if variance < _LEAST_VARIANCE:
                cost[y, x] = BAD
                continue
            cost[y, x] = _cost(flat, wide, high, A, b, x, y, depth[y, x], normal[y, x, 0], normal[y, x, 1], normal[y, x, 2],
                               Kinv, window, four, radius, mean, variance)


@njit(parallel=True, fastmath=True, cache=True)
def sweep(image, sources, A, b, Kinv, mask, low, high, depth, normal, cost, state, colour, radius, spread):
    """One half-step: pixels of one chessboard colour try their neighbours' planes and small changes to their own planes.

    ``low``, ``high``: allowed depth; ``spread``: size of the random changes, 1 at first, less later.
    """
    height, width = image.shape
    count, high, wide = sources.shape
    flat = sources.reshape(count, high * wide)
    for y in prange(height):
        window, four = _new_window(radius)
        for x in range((y + colour) % 2, width, 2):
            if not mask[y, x]:
                continue
            mean, variance = _look(image, y, x, window)
            if variance < _LEAST_VARIANCE:
                continue
            rx = Kinv[0, 0] * x + Kinv[0, 2]
            ry = Kinv[1, 1] * y + Kinv[1, 2]
            best = cost[y, x]
            bd = depth[y, x]
            b0, b1, b2 = normal[y, x, 0], normal[y, x, 1], normal[y, x, 2]
            for direction in range(4):
                dx = (1, -1, 0, 0)[direction]
                dy = (0, 0, 1, -1)[direction]
                # In each direction, take the best pixel of the other colour, near or far.
                choice, least = 0, BAD
                for reach in (1, 3, 7):
                    yy, xx = y + dy * reach, x + dx * reach
                    if yy < 0 or xx < 0 or yy >= height or xx >= width or not mask[yy, xx]:
                        continue
                    if cost[yy, xx] < least:
                        least = cost[yy, xx]
                        choice = reach
                if choice == 0:
                    continue
                yy, xx = y + dy * choice, x + dx * choice
                n0, n1, n2 = normal[yy, xx, 0], normal[yy, xx, 1], normal[yy, xx, 2]
                there = n0 * (Kinv[0, 0] * xx + Kinv[0, 2]) + n1 * (Kinv[1, 1] * yy + Kinv[1, 2]) + n2
                here = n0 * rx + n1 * ry + n2
                if here > -1e-9:
                    continue
                d = depth[yy, xx] * there / here
                if d < low or d > high:
                    continue
                c = _cost(flat, wide, high, A, b, x, y, d, n0, n1, n2, Kinv, window, four, radius, mean, variance)
                if c < best:
                    best, bd, b0, b1, b2 = c, d, n0, n1, n2
            for trial in range(3):
                d, n0, n1, n2 = bd, b0, b1, b2
                if trial != 1:
                    d = bd * (1.0 + 0.04 * spread * (_random(state, y, x) * 2.0 - 1.0))
                if trial != 0:
                    size = 0.6 * spread if trial == 1 else 1.2 * spread
                    n0 += size * (_random(state, y, x) * 2.0 - 1.0)
                    n1 += size * (_random(state, y, x) * 2.0 - 1.0)
                    n2 += size * (_random(state, y, x) * 2.0 - 1.0)
                    length = math.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
                    n0, n1, n2 = n0 / length, n1 / length, n2 / length
                if trial == 2 and spread > 0.5:
                    d = low + (high - low) * _random(state, y, x)
                facing = (n0 * rx + n1 * ry + n2) / math.sqrt(rx * rx + ry * ry + 1.0)
                if facing > -0.17 or d < low or d > high:
                    continue
                c = _cost(flat, wide, high, A, b, x, y, d, n0, n1, n2, Kinv, window, four, radius, mean, variance)
                if c < best:
                    best, bd, b0, b1, b2 = c, d, n0, n1, n2
            cost[y, x] = best
            depth[y, x] = bd
            normal[y, x, 0], normal[y, x, 1], normal[y, x, 2] = b0, b1, b2


@njit(fastmath=True)
def _moments(window):
    """Weighted mean (x, y) of a window's samples, and the inverse of their covariance (xx, xy, yy): all zero if they lie on a line."""
    mx, my = np.float32(0.0), np.float32(0.0)
    for k in range(SAMPLES):
        mx += window[_WEIGHT + k] * window[_X + k]
        my += window[_WEIGHT + k] * window[_Y + k]
    xx, xy, yy = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for k in range(SAMPLES):
        dx, dy, w = window[_X + k] - mx, window[_Y + k] - my, window[_WEIGHT + k]
        xx += w * dx * dx
        xy += w * dx * dy
        yy += w * dy * dy
    whole = xx * yy - xy * xy
    if whole < np.float32(1e-3) * xx * yy + np.float32(1e-9):
        return mx, my, np.float32(0.0), np.float32(0.0), np.float32(0.0)
    return mx, my, yy / whole, -xy / whole, xx / whole


@njit(fastmath=True)
def _subtract_plane(window, moments, values, mean):
    """Subtract from weighted grey values (S) the plane that fits them best. Returns the variance that is left."""
    mx, my, ixx, ixy, iyy = moments
    xv, yv = np.float32(0.0), np.float32(0.0)
    for k in range(SAMPLES):
        part = window[_WEIGHT + k] * (values[k] - mean)
        xv += part * (window[_X + k] - mx)
        yv += part * (window[_Y + k] - my)
    a, b = ixx * xv + ixy * yv, ixy * xv + iyy * yv
    variance = np.float32(0.0)
    for k in range(SAMPLES):
        values[k] -= mean + a * (window[_X + k] - mx) + b * (window[_Y + k] - my)
        variance += window[_WEIGHT + k] * values[k] * values[k]
    return variance


@njit(fastmath=True)
def _plain_cost_in(flat, width, height, A, shift, x, y, na, nb, nc, window, four, radius, moments, mine, variance, theirs):
    """Like ``_cost_in``, without linear gradients. ``mine`` (S), ``variance``: the photo's; ``theirs`` (S): room for the other's values."""
    if not _find(flat, width, height, A, shift, x, y, na, nb, nc, window, four, radius):
        return _BAD32
    mean = np.float32(0.0)
    for k in range(SAMPLES):
        theirs[k] = _between(four[k], window[_RIGHT + k], window[_DOWN + k])
        mean += window[_WEIGHT + k] * theirs[k]
    other = _subtract_plane(window, moments, theirs, mean)
    if other <= np.float32(0.0):
        return _BAD32
    both = np.float32(0.0)
    for k in range(SAMPLES):
        both += window[_WEIGHT + k] * mine[k] * theirs[k]
    return _ONE - both / np.float32(math.sqrt(variance * other))


@njit(parallel=True, fastmath=True, cache=True)
def plain_costs(image, sources, A, b, Kinv, depth, normal, cost, most_cost, radius):
    """Raise ``cost`` to 1 - NCC of the windows without their linear gradients, where that is higher.

    Grey that changes evenly, as on a plain table in soft light, matches perfectly at every depth and measures nothing. Pixels whose cost
    is above ``most_cost`` are not measurements anyway. If a linear gradient is too small a part of a window's variance to bring the cost
    below that by itself, nothing is calculated; this is true for most of a textured photo.
    """
    height, width = image.shape
    count, high, wide = sources.shape
    flat = sources.reshape(count, high * wide)
    # Gradients with this share of one window's variance reach an NCC of at most 1 - most_cost, if the other window is only a gradient.
    enough = np.float32(1.0) - (np.float32(1.0) - most_cost) ** 2
    for y in prange(height):
        window, four = _new_window(radius)
        mine, theirs = np.empty(SAMPLES, np.float32), np.empty(SAMPLES, np.float32)
        for x in range(width):
            if cost[y, x] > most_cost:
                continue
            mean, whole = _look(image, y, x, window)
            for k in range(SAMPLES):
                w = window[_WEIGHT + k]
                mine[k] = window[_PRODUCT + k] / w if w > np.float32(1e-12) else mean
            moments = _moments(window)
            variance = _subtract_plane(window, moments, mine, mean) if moments[2] > 0.0 else np.float32(0.0)
            if variance > enough * whole:
                continue
            first, second = _BAD32, _BAD32
            rx, ry = Kinv[0, 0] * x + Kinv[0, 2], Kinv[1, 1] * y + Kinv[1, 2]
            n0, n1, n2 = normal[y, x, 0], normal[y, x, 1], normal[y, x, 2]
            d = depth[y, x] * (n0 * rx + n1 * ry + n2)
            if variance > np.float32(0.0) and abs(d) > 1e-12:
                p0, p1 = np.float32(n0 * Kinv[0, 0] / d), np.float32(n1 * Kinv[1, 1] / d)
                p2 = np.float32((n0 * Kinv[0, 2] + n1 * Kinv[1, 2] + n2) / d)
                for s in range(count):
                    c = _plain_cost_in(flat[s], wide, high, A[s], b[s], np.float32(x), np.float32(y), p0, p1, p2, window, four,
                                       np.float32(radius), moments, mine, variance, theirs)
                    if c < first:
                        second = first
                        first = c
                    elif c < second:
                        second = c
            plain = first if count == 1 else np.float32(0.5) * (first + second)
            if plain > cost[y, x]:
                cost[y, x] = plain


@njit(parallel=True, fastmath=True, cache=True)
def consistent(depth, normal, K, R, t, others, other_normals, Ks, Rs, ts, reach, tolerance, facing, used, points,
               out_normals, votes):
    """Check each pixel's point in the other views and average what agrees.

    A view agrees if its own depth there leads back to within ``reach`` pixels and ``tolerance`` (share) of the depth, and
    the cosine between the normals is at least ``facing``. ``others``: (S, h, w) depths, 0 if unknown. Fills ``points``,
    ``out_normals`` (world) and ``votes``, and marks merged pixels in ``used`` (S, h, w).
    """
    height, width = depth.shape
    for y in prange(height):
        for x in range(width):
            d = depth[y, x]
            votes[y, x] = 0
            if d <= 0.0:
                continue
            cx, cy = (x - K[0, 2]) / K[0, 0] * d, (y - K[1, 2]) / K[1, 1] * d
            q0, q1, q2 = cx - t[0], cy - t[1], d - t[2]
            wx = R[0, 0] * q0 + R[1, 0] * q1 + R[2, 0] * q2
            wy = R[0, 1] * q0 + R[1, 1] * q1 + R[2, 1] * q2
            wz = R[0, 2] * q0 + R[1, 2] * q1 + R[2, 2] * q2
            m0, m1, m2 = normal[y, x, 0], normal[y, x, 1], normal[y, x, 2]
            n0 = R[0, 0] * m0 + R[1, 0] * m1 + R[2, 0] * m2
            n1 = R[0, 1] * m0 + R[1, 1] * m1 + R[2, 1] * m2
            n2 = R[0, 2] * m0 + R[1, 2] * m1 + R[2, 2] * m2
            sx, sy, sz, a0, a1, a2 = wx, wy, wz, n0, n1, n2
            agree = 1
            for s in range(others.shape[0]):
                Q, P, c = Ks[s], Rs[s], ts[s]
                zx = P[0, 0] * wx + P[0, 1] * wy + P[0, 2] * wz + c[0]
                zy = P[1, 0] * wx + P[1, 1] * wy + P[1, 2] * wz + c[1]
                zz = P[2, 0] * wx + P[2, 1] * wy + P[2, 2] * wz + c[2]
                if zz <= 0.0:
                    continue
                u = int(math.floor(Q[0, 0] * zx / zz + Q[0, 2] + 0.5))
                v = int(math.floor(Q[1, 1] * zy / zz + Q[1, 2] + 0.5))
                if u < 0 or v < 0 or v >= others.shape[1] or u >= others.shape[2]:
                    continue
                e = others[s, v, u]
                if e <= 0.0 or abs(e - zz) > tolerance * zz:
                    continue
                f0, f1, f2 = other_normals[s, v, u, 0], other_normals[s, v, u, 1], other_normals[s, v, u, 2]
                g0 = P[0, 0] * f0 + P[1, 0] * f1 + P[2, 0] * f2
                g1 = P[0, 1] * f0 + P[1, 1] * f1 + P[2, 1] * f2
                g2 = P[0, 2] * f0 + P[1, 2] * f1 + P[2, 2] * f2
                if g0 * n0 + g1 * n1 + g2 * n2 < facing:
                    continue
                ex, ey = (u - Q[0, 2]) / Q[0, 0] * e - c[0], (v - Q[1, 2]) / Q[1, 1] * e - c[1]
                ez = e - c[2]
                vx = P[0, 0] * ex + P[1, 0] * ey + P[2, 0] * ez
                vy = P[0, 1] * ex + P[1, 1] * ey + P[2, 1] * ez
                vz = P[0, 2] * ex + P[1, 2] * ey + P[2, 2] * ez
                bx = R[0, 0] * vx + R[0, 1] * vy + R[0, 2] * vz + t[0]
                by = R[1, 0] * vx + R[1, 1] * vy + R[1, 2] * vz + t[1]
                bz = R[2, 0] * vx + R[2, 1] * vy + R[2, 2] * vz + t[2]
                if bz <= 0.0:
                    continue
                ox, oy = K[0, 0] * bx / bz + K[0, 2] - x, K[1, 1] * by / bz + K[1, 2] - y
                if ox * ox + oy * oy > reach * reach:
                    continue
                agree += 1
                used[s, v, u] = 1
                sx, sy, sz = sx + vx, sy + vy, sz + vz
                a0, a1, a2 = a0 + g0, a1 + g1, a2 + g2
            votes[y, x] = agree
            points[y, x, 0], points[y, x, 1], points[y, x, 2] = sx / agree, sy / agree, sz / agree
            length = max(math.sqrt(a0 * a0 + a1 * a1 + a2 * a2), 1e-12)
            out_normals[y, x, 0], out_normals[y, x, 1], out_normals[y, x, 2] = a0 / length, a1 / length, a2 / length
