// In WebODM, administrators choose the theme's colours. Our theme is dark if WebODM's background is dark, otherwise light.

function luminance(colour) {
    const numbers = (colour.match(/[\d.]+/g) || []).map(Number);
    if (numbers.length < 3 || numbers[3] === 0) return null;
    return (0.2126 * numbers[0] + 0.7152 * numbers[1] + 0.0722 * numbers[2]) / 255;
}

const ours = document.querySelector(".openscan.os-inside");
for (let element = ours && ours.parentElement; element; element = element.parentElement) {
    const found = luminance(getComputedStyle(element).backgroundColor);
    if (found === null) continue;
    ours.dataset.theme = found < 0.4 ? "dark" : "light";
    break;
}
