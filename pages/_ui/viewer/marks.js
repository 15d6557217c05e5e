// Names, colours and limits that all drawings share.

export const LETTERS = "DHW";
export const KINDS = ["input", "output"];
export const ACCENT = "#f76707";
export const LINE = "#8590a0";
// More than so many squares on one plane are not told apart, and take longer than a frame.
export const MOST_MARKS = 4096;
