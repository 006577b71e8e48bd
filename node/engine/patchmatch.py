"""Depth and normals of a photo from its neighbours: PatchMatch stereo with slanted windows, compiled by numba.

The search is that of Galliani et al. 2015 (Gipuma: half the pixels of a chessboard at a time take over the planes of
their neighbours) with the likelihoods of Schoenberger et al. 2016 (COLMAP: bilaterally weighted normalised
cross-correlation over a plane-induced homography), a few samples a window, and the best two of the neighbouring photos.
"""
import math

import numpy as np
from numba import njit, prange

BAD = 2.0  # cost of a hypothesis that cannot be judged; 1 - NCC lies in [0, 2]
_SIGMA_COLOUR = 25.0
_MAX_SAMPLES = 64


@njit(inline="always")
def _random(state: np.ndarray, y: int, x: int) -> float:
    """Uniform in [0, 1); a xorshift generator a pixel, so results do not depend on the number of threads."""
    s = state[y, x]
    s ^= (s << np.uint32(13)) & np.uint32(0xFFFFFFFF)
    s ^= s >> np.uint32(17)
    s ^= (s << np.uint32(5)) & np.uint32(0xFFFFFFFF)
    state[y, x] = s
    return float(s >> np.uint32(8)) / 16777216.0


@njit(inline="always", fastmath=True)
def _cost_in(source, A, b, x, y, na, nb, nc, xs, ys, weights, values, count, mean, variance, total):
    """1 - weighted NCC of one neighbouring photo for the plane (na, nb, nc) = n K^-1 / d."""
    h00 = A[0, 0] + b[0] * na
    h01 = A[0, 1] + b[0] * nb
    h02 = A[0, 2] + b[0] * nc
    h10 = A[1, 0] + b[1] * na
    h11 = A[1, 1] + b[1] * nb
    h12 = A[1, 2] + b[1] * nc
    h20 = A[2, 0] + b[2] * na
    h21 = A[2, 1] + b[2] * nb
    h22 = A[2, 2] + b[2] * nc
    limit_x, limit_y = source.shape[1] - 1.001, source.shape[0] - 1.001
    s, ss, rs = 0.0, 0.0, 0.0
    for k in range(count):
        px, py = x + xs[k], y + ys[k]
        w = h20 * px + h21 * py + h22
        if w <= 1e-9:
            return BAD
        u = (h00 * px + h01 * py + h02) / w
        v = (h10 * px + h11 * py + h12) / w
        if not (u >= 0.0 and v >= 0.0 and u <= limit_x and v <= limit_y):
            return BAD
        iu, iv = int(u), int(v)
        fu, fv = u - iu, v - iv
        top = source[iv, iu] * (1.0 - fu) + source[iv, iu + 1] * fu
        low = source[iv + 1, iu] * (1.0 - fu) + source[iv + 1, iu + 1] * fu
        g = top * (1.0 - fv) + low * fv
        wg = weights[k] * g
        s += wg
        ss += wg * g
        rs += wg * values[k]
    s /= total
    var = ss / total - s * s
    if var < 2.0:
        return BAD
    return 1.0 - (rs / total - s * mean) / math.sqrt(var * variance)


@njit(inline="always", fastmath=True)
def _cost(sources, A, b, x, y, depth, n0, n1, n2, Kinv, xs, ys, weights, values, count, mean, variance, total):
    """Mean of the two best neighbouring photos' costs (one, where there is only one)."""
    rx = Kinv[0, 0] * x + Kinv[0, 2]
    ry = Kinv[1, 1] * y + Kinv[1, 2]
    d = depth * (n0 * rx + n1 * ry + n2)
    if d > -1e-12 and d < 1e-12:
        return BAD
    na = n0 * Kinv[0, 0] / d
    nb = n1 * Kinv[1, 1] / d
    nc = (n0 * Kinv[0, 2] + n1 * Kinv[1, 2] + n2) / d
    first, second = BAD, BAD
    for s in range(sources.shape[0]):
        c = _cost_in(sources[s], A[s], b[s], x, y, na, nb, nc, xs, ys, weights, values, count, mean, variance, total)
        if c < first:
            second = first
            first = c
        elif c < second:
            second = c
    if sources.shape[0] == 1:
        return first
    return 0.5 * (first + second)


@njit(inline="always", fastmath=True)
def _window(image, y, x, radius, step, xs, ys, weights, values):
    """Samples around a pixel, with bilateral weights. Returns count, mean, variance, total weight."""
    height, width = image.shape
    centre = image[y, x]
    count = 0
    total, s, ss = 0.0, 0.0, 0.0
    for j in range(-radius, radius + 1, step):
        for i in range(-radius, radius + 1, step):
            yy, xx = y + j, x + i
            if yy < 0 or xx < 0 or yy >= height or xx >= width:
                continue
            value = image[yy, xx]
            dc = (value - centre) / _SIGMA_COLOUR
            w = math.exp(-0.5 * dc * dc - 0.5 * (i * i + j * j) / (radius * radius))
            xs[count], ys[count], weights[count], values[count] = i, j, w, value
            total += w
            s += w * value
            ss += w * value * value
            count += 1
    mean = s / total
    return count, mean, ss / total - mean * mean, total


@njit(parallel=True, fastmath=True, cache=True)
def start_costs(image, sources, A, b, Kinv, mask, depth, normal, cost, radius, step):
    """Judge the given depths and normals."""
    height, width = image.shape
    for y in prange(height):
        xs = np.empty(_MAX_SAMPLES, np.float32)
        ys = np.empty(_MAX_SAMPLES, np.float32)
        weights = np.empty(_MAX_SAMPLES, np.float32)
        values = np.empty(_MAX_SAMPLES, np.float32)
        for x in range(width):
            if not mask[y, x]:
                cost[y, x] = BAD
                continue
            count, mean, variance, total = _window(image, y, x, radius, step, xs, ys, weights, values)
            if variance < 2.0:
                cost[y, x] = BAD
                continue
            cost[y, x] = _cost(sources, A, b, x, y, depth[y, x], normal[y, x, 0], normal[y, x, 1], normal[y, x, 2],
                               Kinv, xs, ys, weights, values, count, mean, variance, total)


@njit(parallel=True, fastmath=True, cache=True)
def sweep(image, sources, A, b, Kinv, mask, low, high, depth, normal, cost, state, colour, radius, step, spread):
    """One half-step: pixels of one chessboard colour try their neighbours' planes and small changes of their own.

    ``low``, ``high``: allowed depth; ``spread``: size of the random changes, 1 at first, less later.
    """
    height, width = image.shape
    for y in prange(height):
        xs = np.empty(_MAX_SAMPLES, np.float32)
        ys = np.empty(_MAX_SAMPLES, np.float32)
        weights = np.empty(_MAX_SAMPLES, np.float32)
        values = np.empty(_MAX_SAMPLES, np.float32)
        for x in range((y + colour) % 2, width, 2):
            if not mask[y, x]:
                continue
            count, mean, variance, total = _window(image, y, x, radius, step, xs, ys, weights, values)
            if variance < 2.0:
                continue
            rx = Kinv[0, 0] * x + Kinv[0, 2]
            ry = Kinv[1, 1] * y + Kinv[1, 2]
            best = cost[y, x]
            bd = depth[y, x]
            b0, b1, b2 = normal[y, x, 0], normal[y, x, 1], normal[y, x, 2]
            for direction in range(4):
                dx = (1, -1, 0, 0)[direction]
                dy = (0, 0, 1, -1)[direction]
                # Of each direction the most convincing pixel of the other colour, near or far.
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
                c = _cost(sources, A, b, x, y, d, n0, n1, n2, Kinv, xs, ys, weights, values, count, mean, variance,
                          total)
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
                c = _cost(sources, A, b, x, y, d, n0, n1, n2, Kinv, xs, ys, weights, values, count, mean, variance,
                          total)
                if c < best:
                    best, bd, b0, b1, b2 = c, d, n0, n1, n2
            cost[y, x] = best
            depth[y, x] = bd
            normal[y, x, 0], normal[y, x, 1], normal[y, x, 2] = b0, b1, b2


@njit(parallel=True, fastmath=True, cache=True)
def consistent(depth, normal, K, R, t, others, other_normals, Ks, Rs, ts, reach, tolerance, facing, used, points,
               out_normals, votes):
    """Check each pixel's point in the other views and average what agrees.

    A view agrees when its own depth there leads back to within ``reach`` pixels and ``tolerance`` (share) of the
    depth, and its normal is within the angle whose cosine is ``facing``. ``others``: (S, h, w) depths, 0 where
    unknown. Fills ``points``, ``out_normals`` (world) and ``votes``; marks what was merged in ``used`` (S, h, w).
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
